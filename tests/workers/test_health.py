"""Who lives, how reliably, and what a blind observer must not say."""

from dataclasses import replace

import pytest

from schemas import cloudevents
from schemas.health import InstanceHealth, Status
from schemas.reasons import Reason, RowReason
from schemas.reports import Admission, Position
from tests.deployments import NOW_MS, Instance, context, key_of
from workers.fold import Outcome, Record, Step
from workers.health import Health, HealthState
from workers.vitals import Vitals

PERIOD_MS = 30_000
REPORT_OFFSET = iter(range(1_000_000))


class Watch:
    """A health worker with its state and a clock."""

    def __init__(self, *instances: Instance) -> None:
        self.worker = Health(context())
        self.state: HealthState = self.worker.state()
        self.now_ms = NOW_MS
        self.last: dict[str, InstanceHealth | None] = {}
        self.published = 0
        self.take(*(instance.registered() for instance in instances))
        self.tick()

    def take(self, *records: Record) -> Step:
        return self._keep(self.worker.step(self.state, records))

    def tick(self) -> Step:
        return self._keep(self.worker.tick(self.state, self.now_ms))

    def wait(self, duration_ms: int) -> None:
        """Let time pass, looking every second."""
        end = self.now_ms + duration_ms
        while self.now_ms < end:
            self.now_ms = min(end, self.now_ms + 1_000)
            self.tick()

    def beat(self, instance: Instance) -> Step:
        return self.take(instance.beat(self.now_ms))

    def _keep(self, step: Step) -> Step:
        for emit in step.emits:
            if emit.topic == InstanceHealth.topic and emit.key is not None:
                assert emit.event is None or isinstance(emit.event, InstanceHealth)
                self.last[emit.key.split("/")[1]] = emit.event
                self.published += 1
        return step

    def of(self, instance: Instance) -> InstanceHealth:
        health = self.last[instance.name]
        assert health is not None
        return health


def admission(
    instance: Instance,
    at_ms: int,
    outcome: str = "admitted",
    sequence: int | None = NOW_MS,
    *,
    rows: tuple[int, int] = (10, 10),
    rejected: dict[RowReason, int] | None = None,
    offset: int | None = None,
    judged_by: int = 0,
) -> Record:
    event = Admission(
        federation=instance.federation,
        instance_id=instance.name,
        sequence=sequence,
        received=rows[0],
        accepted=rows[1],
        rejected=rejected or {},
        outcome=outcome,
        position=Position(
            topic="flc.reports.v1", partition=0, offset=next(REPORT_OFFSET) if offset is None else offset
        ),
        registration_offset=judged_by,
    )
    key = f"{instance.federation}/{instance.name}".encode()
    headers = cloudevents.headers("1", "Admission", "/flc/privacy/0", at_ms)
    return Record(Admission.topic, 0, 0, at_ms, key, event.encode(), headers)


def test_a_registered_instance_is_unknown_until_it_is_seen() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    assert watch.of(alpha).status is Status.UNKNOWN
    watch.wait(400_000)
    assert watch.of(alpha).status is Status.UNKNOWN
    watch.beat(alpha)
    assert watch.of(alpha).status is Status.ACTIVE


def test_silence_degrades_and_then_makes_inactive() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    watch.beat(alpha)
    watch.wait(3 * PERIOD_MS - 1)
    assert watch.of(alpha).status is Status.ACTIVE
    watch.wait(1)
    assert watch.of(alpha).status is Status.DEGRADED
    watch.wait(300_000 - 3 * PERIOD_MS)
    assert watch.of(alpha).status is Status.INACTIVE


def test_a_degraded_instance_is_active_with_its_next_sign() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    watch.beat(alpha)
    watch.wait(4 * PERIOD_MS)
    watch.beat(alpha)
    assert watch.of(alpha).status is Status.ACTIVE


def inactive(alpha: Instance) -> Watch:
    watch = Watch(alpha)
    watch.beat(alpha)
    watch.wait(300_000)
    assert watch.of(alpha).status is Status.INACTIVE
    return watch


def test_three_beats_in_time_bring_an_inactive_instance_back() -> None:
    alpha = Instance()
    watch = inactive(alpha)
    for _ in range(2):
        watch.beat(alpha)
        watch.wait(PERIOD_MS)
        assert watch.of(alpha).status is Status.INACTIVE
    watch.beat(alpha)
    assert watch.of(alpha).status is Status.ACTIVE


def test_beats_that_are_late_or_in_a_burst_do_not_bring_it_back() -> None:
    alpha = Instance()
    watch = inactive(alpha)
    for pause_ms in (2 * PERIOD_MS, 2 * PERIOD_MS, 1_000, 1_000, 1_000):
        watch.beat(alpha)
        watch.wait(pause_ms)
    assert watch.of(alpha).status is Status.INACTIVE


def test_an_admitted_report_brings_it_back_at_once_and_a_refused_one_does_not() -> None:
    alpha = Instance()
    watch = inactive(alpha)
    watch.take(admission(alpha, watch.now_ms, "refused:unknown_field", watch.now_ms - 1))
    assert watch.of(alpha).status is Status.INACTIVE
    watch.take(admission(alpha, watch.now_ms, sequence=watch.now_ms))
    assert watch.of(alpha).status is Status.ACTIVE


def test_every_beat_in_time_is_full_reliability_whatever_the_jitter() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    for index in range(30):
        watch.beat(alpha)
        watch.wait(PERIOD_MS + (index % 3 - 1) * 4_000)
    assert watch.of(alpha).reliability == 1_000_000


def test_reliability_is_the_share_of_beats_that_came() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    for _ in range(20):
        watch.beat(alpha)
        watch.wait(2 * PERIOD_MS)
    assert watch.of(alpha).reliability == 500_000


def test_a_burst_makes_up_for_nothing() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    for _ in range(10):
        watch.beat(alpha)
        watch.wait(100)
        watch.beat(alpha)
        watch.wait(2 * PERIOD_MS - 100)
    assert watch.of(alpha).reliability == 500_000


def test_a_blind_observer_publishes_nothing_and_counts_silence_from_when_it_looks() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    watch.beat(alpha)
    watch.wait(1_000)
    before = watch.published
    watch.now_ms += 3_600_000
    watch.tick()
    watch.wait(PERIOD_MS)
    assert watch.published == before
    watch.wait(2 * PERIOD_MS)
    assert watch.of(alpha).status is Status.DEGRADED


def test_an_observer_that_comes_back_from_its_changelog_was_blind() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    watch.beat(alpha)
    restored = watch.worker.state()
    for key, value in watch.state.changes():
        restored.load(key, value)
    watch.state = restored
    assert watch.worker.deadline(restored) == 0
    watch.now_ms += 3_600_000
    assert watch.tick().emits == []
    assert watch.worker.deadline(restored) == watch.now_ms + 1_000


def test_a_heartbeat_that_changes_nothing_is_not_published() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    watch.beat(alpha)
    before = watch.published
    watch.wait(PERIOD_MS)
    watch.beat(alpha)
    assert watch.published == before


def test_a_heartbeat_that_comes_again_is_no_sign_of_life() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    first = alpha.beat(watch.now_ms)
    watch.take(first)
    watch.wait(4 * PERIOD_MS)
    step = watch.take(first, alpha.beat(watch.now_ms, NOW_MS - 1))
    assert step.handled == {
        ("flc.heartbeats.v1", Outcome.DUPLICATE): 1,
        ("flc.heartbeats.v1", Outcome.STALE): 1,
    }
    assert watch.of(alpha).status is Status.DEGRADED


def test_a_forged_heartbeat_gets_a_dead_letter() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    step = watch.take(Instance(key=key_of("mallory")).beat())
    assert step.handled == {("flc.heartbeats.v1", Outcome.DEAD_LETTERED): 1}
    assert [emit.topic for emit in step.emits] == ["flc.dead-letters.v1"]
    assert watch.of(alpha).status is Status.UNKNOWN


def test_a_refused_registration_is_counted_and_left_to_the_privacy_worker() -> None:
    watch = Watch()
    step = watch.take(Instance().registered(by=key_of("mallory")))
    assert step.handled == {("flc.instances.v1", Outcome.DEAD_LETTERED): 1}
    assert step.emits == []


def test_every_judged_report_is_published() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    watch.take(
        admission(alpha, NOW_MS + 5, sequence=NOW_MS), admission(alpha, NOW_MS + 6, sequence=NOW_MS + 1)
    )
    health = watch.of(alpha)
    assert watch.published == 3
    assert health.admitted is not None
    assert (health.admitted.sequence, health.admitted.append_ms) == (NOW_MS + 1, NOW_MS + 6)
    watch.take(admission(alpha, NOW_MS + 9, "refused:unknown_field", NOW_MS + 2))
    health = watch.of(alpha)
    assert health.judged is not None
    assert health.admitted is not None
    assert (health.judged.sequence, health.judged.outcome) == (NOW_MS + 2, "refused:unknown_field")
    assert health.admitted.sequence == NOW_MS + 1


def test_duplicate_and_stale_reports_are_not() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    before = watch.published
    watch.take(admission(alpha, NOW_MS, "duplicate"), admission(alpha, NOW_MS, "stale"))
    assert watch.published == before
    assert watch.of(alpha).status is Status.UNKNOWN


def test_an_admission_that_comes_again_changes_nothing() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    record = admission(alpha, NOW_MS)
    step = watch.take(record, record)
    assert step.handled == {
        ("flc.admissions.v1", Outcome.ACCEPTED): 1,
        ("flc.admissions.v1", Outcome.DUPLICATE): 1,
    }


@pytest.mark.parametrize("reason", [Reason.TOO_EARLY, Reason.TOO_OLD])
def test_a_report_out_of_its_time_is_no_sign_of_life(reason: Reason) -> None:
    alpha = Instance()
    watch = Watch(alpha)
    watch.take(admission(alpha, NOW_MS, f"refused:{reason}", NOW_MS + 10**9))
    health = watch.of(alpha)
    assert health.status is Status.UNKNOWN
    assert health.judged is not None
    assert health.judged.sequence == (None if reason is Reason.TOO_EARLY else NOW_MS + 10**9)


def test_being_filtered_costs_no_quality_and_being_malformed_does() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    rejected = {RowReason.LOW_CERTAINTY: 4, RowReason.LOW_QUALITY: 2, RowReason.OUT_OF_RANGE: 1}
    watch.take(admission(alpha, NOW_MS, rows=(10, 3), rejected=rejected))
    health = watch.of(alpha)
    assert (health.data_quality, health.pattern_count) == (750_000, 3)
    assert health.weight == 376_125


def test_quality_looks_at_the_last_twenty_reports() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    watch.take(admission(alpha, NOW_MS, rows=(10, 0), rejected={RowReason.OUT_OF_RANGE: 10}))
    watch.take(*(admission(alpha, NOW_MS, sequence=NOW_MS + index) for index in range(1, 21)))
    assert watch.of(alpha).data_quality == 1_000_000


def test_a_deregistered_instance_leaves_a_tombstone_and_silence() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    watch.beat(alpha)
    watch.take(alpha.deregistered())
    assert watch.last["alpha"] is None
    before = watch.published
    watch.wait(400_000)
    watch.take(admission(alpha, watch.now_ms))
    assert watch.published == before


def test_a_report_that_was_judged_before_an_instance_left_does_not_count_after_its_return() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    watch.take(alpha.deregistered(2), replace(alpha.registered(3), offset=2))
    watch.take(admission(alpha, NOW_MS, judged_by=0))
    assert watch.of(alpha).admitted is None
    watch.take(admission(alpha, NOW_MS, sequence=NOW_MS + 1, judged_by=2))
    assert watch.of(alpha).admitted is not None


def test_a_report_that_was_judged_before_a_rotation_counts() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    watch.take(replace(alpha.registered(2), offset=1))
    watch.take(admission(alpha, NOW_MS, judged_by=0))
    assert watch.of(alpha).admitted is not None


def test_a_new_registration_publishes_the_new_keys_and_keeps_the_life() -> None:
    alpha = Instance()
    watch = Watch(alpha)
    watch.beat(alpha)
    keys = [{"key": "a" * 64}, {"key": alpha.public_key, "revoked": True}]
    watch.take(alpha.registered(2, public_keys=keys))
    assert [key.key for key in watch.of(alpha).public_keys] == ["a" * 64]
    assert watch.of(alpha).status is Status.ACTIVE


def test_a_long_dead_instance_changes_nothing_any_more() -> None:
    dead = Vitals(PERIOD_MS).beat(NOW_MS, NOW_MS).silent(NOW_MS + 10**8, NOW_MS, 300_000)
    assert dead.silent(NOW_MS + 2 * 10**8, NOW_MS, 300_000) == dead
    assert dead.reliability == 0


def test_registered_instances_are_counted_by_status() -> None:
    alpha, beta, gamma = Instance("alpha"), Instance("beta"), Instance("gamma")
    watch = Watch(alpha, beta, gamma)
    watch.beat(alpha)
    watch.take(gamma.deregistered())
    counted = {labels: value for _, labels, value in watch.worker.observe(watch.state)}
    assert counted == {
        ("default", "active"): 1,
        ("default", "degraded"): 0,
        ("default", "inactive"): 0,
        ("default", "unknown"): 1,
    }
