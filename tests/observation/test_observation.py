"""The fold of what an operator may see."""

import pytest

from convergence.observation.instances import ORDERS
from convergence.observation.observation import TOPICS, encoded
from schemas.dead_letters import DeadLetter
from schemas.health import Status
from schemas.reasons import Reason, RowReason
from schemas.reports import Admission, Position
from schemas.rounds import HandOver, Phase, RoundKind
from schemas.topics import load
from tests.deployments import NOW_MS
from tests.observation.federation import Observed
from tests.workers.line import names, shared_rows, signature
from workers.fold import Record
from workers.runtime.port import Commit, GroupDescription, TopicPartition

NAMES = ("a", "b", "c", "d")


def test_nothing_is_read_that_is_raw_or_not_yet_released() -> None:
    declared = load()
    assert {declared[topic].classification for topic in TOPICS} == {"filtered", "public"}
    assert all("operator" in declared[topic].consumers for topic in TOPICS)
    assert "flc.contributions.v1" not in TOPICS
    assert "flc.partials.v1" not in TOPICS


def test_a_federation_of_which_nothing_is_known_is_empty() -> None:
    snapshot = Observed().observe().snapshot(0)
    assert snapshot.last is None
    assert snapshot.explanation is None
    assert snapshot.instances.total == 0


@pytest.mark.parametrize(
    ("key", "event_type"),
    [
        (b"default/update/1", b"OfALaterVersion"),
        (b"default/update", b"CollectionCompleted"),
        (b"default/update/x", b"CollectionCompleted"),
        (b"default/of-a-later-version/1", b"CollectionCompleted"),
    ],
)
def test_a_hand_over_that_it_does_not_know_is_passed_over(key: bytes, event_type: bytes) -> None:
    observation = Observed().observation
    observation.take(Record(HandOver.topic, 0, 0, NOW_MS, key, b"{}", (("ce_type", event_type),)))
    assert list(observation.rounds.running()) == []


def test_a_synchronization_ends_as_one_round_with_its_phases() -> None:
    line = Observed()
    line.learn(*NAMES)
    rounds = line.observe().rounds
    (synchronization,) = rounds.synchronizations(10)
    assert synchronization.number == 1
    assert synchronization.instances == 4
    assert synchronization.phases_ms is not None
    assert len(synchronization.phases_ms) == 5
    assert list(rounds.running()) == []


def test_a_running_synchronization_shows_its_phase_its_deadline_and_whom_it_waits_for() -> None:
    line = Observed()
    for name in NAMES:
        line.report(name, shared_rows(), 1)
    line.run()
    line.now_ms += 1
    line.ask("now")
    line.run()
    line.report("a", shared_rows(), 2)
    (running,) = line.observe().snapshot(0).running
    assert (running.kind, running.phase) == (RoundKind.SYNCHRONIZATION, Phase.COLLECTION)
    assert running.deadline_ms == line.now_ms + 10_000
    assert running.waits_for == ("b", "c", "d")


def test_a_running_round_goes_on_from_phase_to_phase() -> None:
    line = Observed(workers=[])
    rounds = line.observation.rounds
    rounds.hand_over("default/update/1", "CollectionCompleted", 10)
    rounds.hand_over("default/update/1", "ValidationCompleted", 15)
    rounds.hand_over("default/update/1", "CollectionCompleted", 10)
    (running,) = rounds.running()
    assert [(one.phase, one.duration_ms) for one in running.phases] == [
        (Phase.VALIDATION, 5),
        (Phase.AGGREGATION, None),
    ]


def test_what_ended_after_a_round_is_told_once_and_in_order() -> None:
    line = Observed()
    for sequence in (1, 3, 5):
        line.learn(*NAMES, sequence=sequence)
    rounds = line.observe().rounds
    every = rounds.after(-1)
    assert every is not None
    assert len({one.offset for one in every}) == len(every) > 3
    middle = every[len(every) // 2]
    assert rounds.after(middle.offset) == every[len(every) // 2 + 1 :]
    assert rounds.after(rounds.last_offset) == []


def test_a_record_that_is_read_twice_changes_nothing() -> None:
    line = Observed()
    line.learn(*NAMES)
    observation = line.observe()
    before = observation.rounds.after(-1)
    for record in line.log:
        if record.topic == "flc.convergence.v1":
            observation.take(record)
    assert observation.rounds.after(-1) == before


def test_an_instance_shows_its_health_its_weight_and_how_it_stands() -> None:
    line = Observed()
    line.learn(*NAMES)
    view = line.observe().instances.one("a")
    assert view is not None
    assert view.status is Status.ACTIVE
    assert view.standing is not None
    assert view.standing.coverage == 1.0
    assert view.standing.weight > 0
    assert view.volume == pytest.approx(0.5015)


def test_a_deregistered_instance_is_gone() -> None:
    line = Observed()
    line.learn(*NAMES)
    line.forget("a")
    assert line.observe().instances.summary().total == 3


def test_an_instance_shows_what_was_refused_of_its_last_report() -> None:
    line = Observed()
    line.report("a", shared_rows(), 1)
    admission = Admission(
        federation="default",
        instance_id="a",
        sequence=1,
        received=5,
        accepted=3,
        rejected={RowReason.LOW_CERTAINTY: 2},
        outcome="admitted",
        position=Position(topic="flc.reports.v1", partition=0, offset=1),
        registration_offset=0,
    )
    line.publish(admission, "default/a", 0, "admission/1")
    observation = line.observe()
    view = observation.instances.one("a")
    assert view is not None
    assert view.report is not None
    assert view.report.rejected == {"low_certainty": 2}
    assert observation.refusals.view().rows == {"low_certainty": 2}


def test_instances_are_shown_a_page_at_a_time_sorted_and_filtered() -> None:
    line = Observed()
    line.learn("a", "ab", "b")
    line.see("gone", None, status=Status.INACTIVE)
    instances = line.observe().instances
    total, page = instances.page("name", "a", first=1, count=1)
    assert (total, [one.instance_id for one in page]) == (2, ["ab"])
    _, worst = instances.page("status", "", first=0, count=1)
    assert worst[0].instance_id == "gone"
    for order in ORDERS:
        assert instances.page(order, "", 0, 10)[0] == 4


def test_dead_letters_are_counted_by_reason_and_those_of_other_federations_are_not() -> None:
    line = Observed()

    def letter(federation: str | None, reason: Reason, offset: int, stage: str) -> DeadLetter:
        return DeadLetter(
            federation=federation,
            reason=reason,
            stage=stage,
            source_topic="flc.reports.v1",
            source_partition=0,
            source_offset=offset,
            last_offset=offset,
            length=1,
            digest="00",
            append_ms=NOW_MS,
            version="0",
        )

    for offset, (federation, stage) in enumerate(
        (("default", "privacy"), (None, "health"), ("other", "collection"))
    ):
        found = letter(federation, Reason.BAD_SIGNATURE, offset, stage)
        line.append(DeadLetter.topic, 0, "key", found.encode(), {"ce_type": b"DeadLetter"})
    refusals = line.observe().refusals.view()
    (reason,) = refusals.reasons
    assert (reason.reason, reason.count, reason.stages) == (Reason.BAD_SIGNATURE, 2, ("health", "privacy"))
    assert refusals.letters[0].source == "flc.reports.v1/0/1"


def test_a_pattern_shows_which_synchronization_released_it_first_and_which_changed_it_last() -> None:
    line = Observed()
    for sequence, strength in enumerate((900_000, 800_000), start=1):
        for name in NAMES:
            line.report(name, shared_rows(strength=strength), sequence)
        line.ask(f"ask-{sequence}")
        line.wait(60_000)
    pattern = line.observe().snapshot(0).patterns.patterns[0]
    assert (pattern.emerged, pattern.number) == (1, 2)


def test_what_is_below_the_release_threshold_is_counted_and_never_named() -> None:
    line = Observed(release_threshold=3)
    secret = signature(77)
    for name in NAMES:
        rows = shared_rows()
        if name in {"a", "b"}:
            rows[secret] = ("hidden", 900_000, 800_000, 950_000, 7)
        line.report(name, rows, 1)
    line.ask("now")
    line.wait(60_000)
    observation = line.observe()
    snapshot = observation.snapshot(0)
    everything = encoded(
        [snapshot, observation.instances.page("name", "", 0, 100)[1], observation.rounds.after(-1)]
    ).decode()
    assert snapshot.withheld == 1
    assert snapshot.patterns.released == 3
    assert secret not in everything
    assert "hidden" not in everything
    assert signature(0) in everything


def test_a_worker_without_members_shows_as_stopped_and_its_backlog_as_lag() -> None:
    observation = Observed().observation
    at = TopicPartition("flc.rounds.v1", 0)
    observation.workers.see("validation", GroupDescription({}, {}), {at: 5}, NOW_MS)
    (view,) = observation.snapshot(NOW_MS).workers
    assert (view.state, view.lag, view.members) == ("stopped", 5, 0)


def test_a_worker_shows_who_holds_each_partition_and_its_progress() -> None:
    observation = Observed().observation
    at = TopicPartition("flc.rounds.v1", 0)
    for number in range(3):
        now_ms = NOW_MS + number * 5_000
        group = GroupDescription({"flc-1": frozenset({at})}, {at: Commit(number, now_ms)})
        observation.workers.see("validation", group, {at: number}, now_ms)
    (view,) = observation.snapshot(NOW_MS + 10_000).workers
    assert (view.state, view.lag, view.members) == ("ok", 0, 1)
    assert view.partitions[0].member == "flc-1"
    assert view.last_progress_ms == NOW_MS + 10_000


def test_a_day_of_updates_stays_within_the_bound() -> None:
    line = Observed()
    line.learn(*NAMES)
    rounds = line.observe().rounds
    (sample,) = rounds.latest(1)
    for number in range(10_000):
        rounds._end(
            type(sample)(
                **{name: getattr(sample, name) for name in sample.__slots__}
                | {"offset": 1_000 + number, "ended_ms": NOW_MS + number * 20_000}
            )
        )
    points = rounds.points()
    assert 2_000 < len(points) < 2_500
    assert [one.at_ms for one in points] == sorted(one.at_ms for one in points)
    assert rounds.after(0) is None


def test_what_is_sent_does_not_grow_with_the_number_of_instances() -> None:
    line = Observed()
    for name in names(300):
        line.report(name, shared_rows(), 1)
    for name in names(290):
        line.see(name, 2, status=Status.INACTIVE)
    line.ask("now")
    line.wait(60_000)
    observation = line.observe()
    assert observation.instances.summary().total == 300
    assert len(encoded(observation.snapshot(0))) < 20_000
    assert len(encoded(observation.instances.page("cost", "", 0, 25)[1])) < 20_000
