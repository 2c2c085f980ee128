"""When rounds open and close, who is in, and what their results answer."""

from typing import Any

import pytest

from schemas.convergence import ConvergenceUpdated, RoundAbandoned, SynchronizationAnnounced
from schemas.dead_letters import DeadLetter
from schemas.health import Admitted, Judged, Status
from schemas.instances import PublicKey
from schemas.reasons import DropReason
from schemas.rounds import CollectionCompleted, RoundKind
from schemas.signing import public_key
from tests.deployments import NOW_MS, key_of
from tests.workers.line import Line, shared_rows
from workers import requests
from workers.fold import Outcome

SYNCHRONIZATION = RoundKind.SYNCHRONIZATION

#: What is judged of something of which not even the sequence can be read.
UNREADABLE = Judged(sequence=None, outcome="refused:bad_json")


def line_of(*instances: str, **changes: Any) -> Line:
    """Return a line in which these instances have reported and the update round about it is over."""
    line = Line(**changes)
    for name in instances:
        line.report(name, shared_rows(), 1)
    line.wait(1_000)
    return line


def overdue(*instances: str) -> Line:
    """Return such a line at the deadline of a synchronization that nobody answered, before its tick."""
    line = line_of(*instances, collection_deadline_ms=5_000, restarting=True)
    line.ask("please")
    line.run()
    line.now_ms += 5_000
    return line


def collected(line: Line, kind: RoundKind = SYNCHRONIZATION) -> list[CollectionCompleted]:
    return [each for each in line.events(CollectionCompleted) if each.kind is kind]


def covers(line: Line) -> list[tuple[str, int, str]]:
    return [
        (cover.instance_id, cover.sequence, cover.outcome)
        for update in line.events(ConvergenceUpdated)
        for cover in update.covers
    ]


def letters(line: Line) -> list[DeadLetter]:
    records = [record for record in line.log if record.topic == DeadLetter.topic]
    return [DeadLetter.model_validate_json(record.value or b"") for record in records]


def settled(line: Line) -> int:
    """Return how many commands were counted, whatever became of them."""
    return sum(line.handled["collection", "flc.commands.v1", outcome] for outcome in Outcome)


# --- updates


def test_an_update_opens_at_once_when_a_report_was_judged() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 1)
    line.run()
    (update,) = line.events(ConvergenceUpdated)
    assert (update.number, update.opened_at) == (1, NOW_MS)
    assert covers(line) == [("alpha", 1, "included")]
    assert [scores.instance_id for scores in update.instance_scores] == ["alpha"]


def test_reports_judged_together_are_answered_together() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 1)
    line.report("beta", shared_rows(), 1)
    line.run()
    assert covers(line) == [("alpha", 1, "included"), ("beta", 1, "included")]
    assert len(line.events(ConvergenceUpdated)) == 1


def test_the_next_update_waits_for_the_interval() -> None:
    line = Line(update_interval_ms=500)
    line.report("alpha", shared_rows(), 1)
    line.run()
    line.report("alpha", shared_rows(), 2)
    line.wait(499)
    assert len(line.events(ConvergenceUpdated)) == 1
    line.wait(1)
    assert len(line.events(ConvergenceUpdated)) == 2
    assert line.events(ConvergenceUpdated)[1].opened_at == NOW_MS + 500


def test_a_slow_update_slows_the_next_one_down() -> None:
    line = Line(update_interval_ms=500)
    line.report("alpha", shared_rows(), 1)
    line.step("collection")
    line.now_ms += 1_000
    line.run()  # the update took a second
    line.report("alpha", shared_rows(), 2)
    line.wait(2_999)
    assert len(line.events(ConvergenceUpdated)) == 1
    line.wait(1)
    assert len(line.events(ConvergenceUpdated)) == 2


def test_an_update_that_an_outage_held_up_does_not_hold_up_the_next_one() -> None:
    line = Line(update_interval_ms=500)
    line.report("alpha", shared_rows(), 1)
    line.step("collection")
    line.now_ms += 60_000
    line.run()  # the update took a minute
    line.report("alpha", shared_rows(), 2)
    line.wait(5_000)
    assert [update.number for update in line.events(ConvergenceUpdated)] == [1, 2]


def test_nothing_new_opens_no_update() -> None:
    line = line_of("alpha")
    line.see("alpha", 1, status=Status.DEGRADED)
    line.wait(10_000)
    assert len(line.events(ConvergenceUpdated)) == 1


def test_only_the_reports_judged_since_the_last_update_are_covered() -> None:
    line = line_of("alpha", "beta")
    line.report("beta", shared_rows(), 2)
    line.wait(1_000)
    assert covers(line)[2:] == [("beta", 2, "included")]
    update = line.events(ConvergenceUpdated)[1]
    assert [scores.instance_id for scores in update.instance_scores] == ["beta"]
    assert update.instance_count == 2


def test_a_refused_report_is_covered_with_its_reason_and_hides_the_admitted_one_before_it() -> None:
    line = Line()
    line.contribute({"alpha": ("alpha", 1, shared_rows())})
    line.see("alpha", 1, judged=Judged(sequence=2, outcome="refused:bad_json"))
    line.see("beta", None, judged=Judged(sequence=7, outcome="refused:too_old"))
    line.run()
    assert covers(line) == [("alpha", 2, "refused:bad_json"), ("beta", 7, "refused:too_old")]
    assert line.events(ConvergenceUpdated)[0].instance_count == 1


def test_a_report_that_could_not_be_read_does_not_hide_what_was_judged_before() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 3)
    line.see(
        "alpha",
        3,
        admitted=Admitted(sequence=3, append_ms=NOW_MS),
        judged=Judged(sequence=None, outcome="refused:bad_json"),
    )
    line.wait(2_000)
    assert covers(line) == [("alpha", 3, "included")]


def test_a_report_is_answered_though_compaction_left_only_what_was_unreadable_after_it() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 1)
    line.wait(2_000)
    line.contribute({"alpha": ("alpha", 2, shared_rows())})
    line.see("alpha", 2, judged=UNREADABLE)
    line.wait(2_000)
    assert covers(line) == [("alpha", 1, "included"), ("alpha", 2, "included")]


def test_a_refusal_is_answered_though_something_unreadable_came_after_it() -> None:
    line = Line()
    line.see("alpha", None, judged=Judged(sequence=5, outcome="refused:bad_json"))
    line.see("alpha", None, judged=Judged(sequence=None, outcome="refused:bad_utf8"))
    line.run()
    assert covers(line) == [("alpha", 5, "refused:bad_json")]


def test_a_refused_report_that_is_admitted_once_redriven_is_in_an_update_of_its_own() -> None:
    line = Line()
    line.see("alpha", None, judged=Judged(sequence=5, outcome="refused:rate_limited"))
    line.wait(2_000)
    line.report("alpha", shared_rows(), 5)
    line.wait(10_000)
    assert covers(line) == [("alpha", 5, "refused:rate_limited")]
    assert [update.instance_count for update in line.events(ConvergenceUpdated)] == [0, 1]


def test_a_report_that_is_redriven_while_its_refusal_is_being_answered_is_in_the_next_update() -> None:
    line = Line()
    line.see("alpha", None, judged=Judged(sequence=5, outcome="refused:rate_limited"))
    line.step("collection")
    line.report("alpha", shared_rows(), 5)
    line.step("collection")
    line.wait(10_000)
    assert [update.instance_count for update in line.events(ConvergenceUpdated)] == [0, 1]


def test_an_inactive_instance_is_listed_and_covered_but_not_in() -> None:
    line = Line()
    line.report("alpha", shared_rows(), 1, status=Status.INACTIVE)
    line.run()
    assert covers(line) == [("alpha", 1, "not_active")]
    (collection,) = collected(line, RoundKind.UPDATE)
    assert collection.instances.drop_reason == (DropReason.NOT_ACTIVE,)


def test_a_report_that_is_too_old_leaves_the_cohort() -> None:
    line = line_of("alpha", "beta", report_max_age_s=60)
    line.wait(59_000)
    line.report("beta", shared_rows(), 2)
    line.wait(1_000)
    assert collected(line, RoundKind.UPDATE)[-1].instances.drop_reason == (DropReason.REPORT_TOO_OLD, None)


def test_a_deregistered_instance_is_gone() -> None:
    line = line_of("alpha", "beta")
    line.forget("alpha")
    line.report("beta", shared_rows(), 2)
    line.wait(1_000)
    assert collected(line, RoundKind.UPDATE)[-1].instances.instance_id == ("beta",)


# --- synchronizations


def test_a_command_opens_a_synchronization_that_announces_itself() -> None:
    line = line_of("alpha", "beta", collection_deadline_ms=10_000)
    line.ask("please")
    line.run()
    (announced,) = line.events(SynchronizationAnnounced)
    assert announced.deadline_ms == line.now_ms + 10_000
    assert collected(line) == []


def test_it_closes_at_once_when_everybody_has_answered() -> None:
    line = line_of("alpha", "beta")
    line.ask("please")
    line.run()
    line.report("alpha", shared_rows(), 2)
    line.run()
    assert collected(line) == []
    line.report("beta", shared_rows(), 2)
    line.run()
    (collection,) = collected(line)
    assert collection.instances.sequence == (2, 2)
    assert collection.instances.straggler == (False, False)
    assert collection.commands == ("please",)


def test_at_the_deadline_whoever_did_not_answer_is_a_straggler() -> None:
    line = line_of("alpha", "beta", collection_deadline_ms=5_000)
    line.ask("please")
    line.run()
    line.report("beta", shared_rows(), 2)
    line.wait(4_999)
    assert collected(line) == []
    line.wait(1)
    (collection,) = collected(line)
    assert collection.instances.straggler == (True, False)
    assert collection.instances.sequence == (1, 2)


def test_a_report_from_after_the_deadline_does_not_count_though_it_was_read_before_the_tick() -> None:
    line = line_of("alpha", "beta", collection_deadline_ms=5_000, restarting=True)
    line.ask("please")
    line.run()
    line.report("alpha", shared_rows(), 2)
    line.now_ms += 5_000
    line.report("beta", shared_rows(), 2)
    line.run()
    assert collected(line) == []
    line.wait(0)
    (collection,) = collected(line)
    assert collection.instances.straggler == (False, True)
    assert collection.instances.sequence == (2, 1)
    line.wait(5_000)
    assert covers(line)[-1] == ("beta", 2, "included")


def test_something_unreadable_from_after_the_deadline_does_not_hide_what_came_before_it() -> None:
    line = overdue("alpha", "beta")
    line.report("beta", shared_rows(), 2)
    line.see("beta", 2, judged=UNREADABLE)
    line.run()
    line.wait(0)
    line.wait(5_000)
    assert covers(line)[-1] == ("beta", 2, "included")


def test_a_refusal_from_after_the_deadline_is_answered_though_something_unreadable_came_after_it() -> None:
    line = overdue("alpha", "beta")
    line.see("beta", 1, judged=Judged(sequence=2, outcome="refused:too_old"))
    line.see("beta", 1, judged=UNREADABLE)
    line.run()
    line.wait(0)
    line.wait(5_000)
    assert covers(line)[-1] == ("beta", 2, "refused:too_old")


def test_who_leaves_and_comes_back_between_deadline_and_tick_is_covered_anew() -> None:
    line = overdue("alpha", "beta")
    line.forget("beta")
    line.see("beta", 1)
    line.run()
    answered = covers(line)
    line.wait(0)
    line.wait(5_000)
    assert covers(line)[len(answered) :] == [("beta", 1, "included")]


def test_nobody_waits_for_an_instance_that_went_silent() -> None:
    line = line_of("alpha", "beta", "gamma")
    line.ask("please")
    line.run()
    line.report("alpha", shared_rows(), 2)
    line.report("beta", shared_rows(), 2)
    line.see("gamma", 1, status=Status.INACTIVE)
    line.run()
    (collection,) = collected(line)
    assert collection.instances.drop_reason == (None, None, DropReason.NOT_ACTIVE)


def test_nobody_waits_for_an_instance_that_was_deregistered() -> None:
    line = line_of("alpha", "beta", "gamma")
    line.ask("please")
    line.run()
    line.report("alpha", shared_rows(), 2)
    line.report("beta", shared_rows(), 2)
    line.forget("gamma")
    line.run()
    (collection,) = collected(line)
    assert collection.instances.instance_id == ("alpha", "beta")


def test_below_the_quorum_it_stays_open_until_the_deadline_though_all_have_answered() -> None:
    line = line_of("alpha")
    line.ask("please")
    line.run()
    line.report("alpha", shared_rows(), 2)
    line.run()
    assert line.events(RoundAbandoned) == []
    line.report("beta", shared_rows(), 1)
    line.run()
    assert len(collected(line)) == 1


def test_the_schedule_opens_a_synchronization_every_window() -> None:
    line = line_of("alpha", "beta", sync_window_s=60, collection_deadline_ms=1_000)
    line.wait(58_999)
    assert line.events(SynchronizationAnnounced) == []
    line.wait(1)
    (announced,) = line.events(SynchronizationAnnounced)
    assert announced.timestamp == NOW_MS + 60_000
    line.wait(60_000)
    assert [each.timestamp for each in line.events(SynchronizationAnnounced)] == [
        NOW_MS + 60_000,
        NOW_MS + 120_000,
    ]
    assert collected(line)[0].next_window_ms == NOW_MS + 120_000


def test_a_command_joins_while_it_collects_and_later_asks_for_the_next_one() -> None:
    line = line_of("alpha", "beta", collection_deadline_ms=1_000, acknowledgement_deadline_ms=1_000)
    line.ask("first")
    line.run()
    line.ask("second")
    line.run()
    line.report("alpha", shared_rows(), 2)
    line.report("beta", shared_rows(), 2)
    line.run()  # it waits for acknowledgements now
    line.ask("third")
    line.run()
    assert len(line.events(SynchronizationAnnounced)) == 1
    line.wait(10_000)
    assert [each.commands for each in collected(line)] == [("first", "second"), ("third",)]


def test_below_the_quorum_it_is_abandoned_and_the_next_one_may_open() -> None:
    line = line_of("alpha", collection_deadline_ms=1_000)
    line.ask("first")
    line.wait(1_000)
    (abandoned,) = line.events(RoundAbandoned)
    assert (abandoned.phase, abandoned.instance_count, abandoned.commands) == ("collection", 1, ("first",))
    line.report("beta", shared_rows(), 1)
    line.ask("second")
    line.wait(10_000)
    assert [each.commands for each in collected(line)] == [("second",)]


def test_a_synchronization_and_an_update_may_overlap_but_the_update_waits_for_the_interval() -> None:
    line = line_of("alpha", "beta", update_interval_ms=500)
    line.ask("please")
    line.run()
    opened_ms = line.now_ms
    line.report("alpha", shared_rows(), 2)
    line.wait(499)
    assert covers(line)[-1] != ("alpha", 2, "included")
    line.wait(1)
    assert covers(line)[-1] == ("alpha", 2, "included")
    assert line.events(ConvergenceUpdated)[-1].opened_at == opened_ms + 500
    assert collected(line) == []


def test_an_update_that_waits_is_not_put_off_by_a_synchronization() -> None:
    line = Line(update_interval_ms=500)
    for sequence in (1, 2):
        line.report("alpha", shared_rows(), sequence)
        line.run()
    line.wait(300)
    line.ask("please")
    line.wait(200)
    assert covers(line)[-1] == ("alpha", 2, "included")
    assert line.events(ConvergenceUpdated)[-1].opened_at == NOW_MS + 500


# --- requests


def test_a_request_that_comes_twice_is_a_duplicate() -> None:
    line = line_of("alpha", "beta")
    line.ask("please")
    line.ask("please")
    line.run()
    assert line.handled["collection", "flc.commands.v1", Outcome.DUPLICATE] == 1


@pytest.mark.parametrize(
    ("by", "changes", "reason"),
    [
        ("stranger", {}, "unknown_key"),
        ("alpha", {"requested_by": "beta"}, "unknown_key"),
        ("alpha", {"requested_by": None}, "unknown_key"),
        ("alpha", {"sequence": NOW_MS - 10 * 60_000}, "too_old"),
        ("alpha", {"sequence": NOW_MS + 10 * 60_000}, "too_early"),
    ],
)
def test_a_request_that_may_not_be_made_is_a_dead_letter(
    by: str, changes: dict[str, Any], reason: str
) -> None:
    line = line_of("alpha", "beta")
    line.ask("please", by=by, **changes)
    line.wait(requests.WAIT_MS)
    assert [letter.reason for letter in letters(line)] == [reason]
    assert line.events(SynchronizationAnnounced) == []


def test_a_request_that_is_too_long_is_a_dead_letter() -> None:
    line = line_of("alpha", "beta")
    line.append("flc.commands.v1", line.federation_partition(), "default", b" " * 3_000, {})
    line.run()
    assert [letter.reason for letter in letters(line)] == ["too_large"]


@pytest.mark.parametrize("restarting", [False, True])
def test_a_request_right_behind_its_registration_waits_until_its_key_is_known(restarting: bool) -> None:
    line = line_of("alpha", "beta", restarting=restarting)
    # Given a newcomer whose request overtakes what the health worker has to say of it
    line.ask("please", by="gamma")
    line.run()
    assert settled(line) == 0
    # When the health worker says it
    line.now_ms += requests.WAIT_MS - 1
    line.see("gamma", None)
    line.run()
    # Then it is taken, and counted once
    assert len(line.events(SynchronizationAnnounced)) == 1
    assert line.handled["collection", "flc.commands.v1", Outcome.ACCEPTED] == settled(line) == 1
    line.wait(60_000)
    assert letters(line) == []
    assert settled(line) == 1
    assert [each.commands for each in collected(line)] == [("please",)]


@pytest.mark.parametrize("restarting", [False, True])
def test_a_request_whose_key_does_not_become_known_is_refused_in_time(restarting: bool) -> None:
    line = line_of("alpha", "beta", restarting=restarting)
    line.ask("please", by="stranger")
    line.wait(requests.WAIT_MS - 1)
    assert letters(line) == []
    line.see("gamma", None)  # of somebody else
    line.wait(1)
    assert [letter.reason for letter in letters(line)] == ["unknown_key"]
    assert line.handled["collection", "flc.commands.v1", Outcome.DEAD_LETTERED] == settled(line) == 1


def test_a_key_that_was_just_rotated_may_ask() -> None:
    line = line_of("alpha", "beta")
    line.ask("please", by="alpha", key="alpha-next")
    line.run()
    line.see("alpha", 1, public_keys=(PublicKey(key=public_key(key_of("alpha-next"))),))
    line.run()
    assert len(line.events(SynchronizationAnnounced)) == 1


def test_requests_that_waited_are_settled_in_their_order_and_a_repetition_is_one() -> None:
    line = line_of("alpha", "beta")
    for request_id in ("second", "first", "second"):
        line.ask(request_id, by="gamma")
    line.run()
    line.see("gamma", None)
    line.wait(10_000)
    assert [each.commands for each in collected(line)] == [("second", "first")]
    assert line.handled["collection", "flc.commands.v1", Outcome.DUPLICATE] == 1


def test_only_so_many_requests_wait() -> None:
    line = line_of("alpha", "beta")
    for number in range(requests.MAX_WAITING + 1):
        line.ask(f"request-{number}", by="stranger")
    line.run()
    assert [letter.reason for letter in letters(line)] == ["unknown_key"]
    assert settled(line) == 1
    line.wait(requests.WAIT_MS)
    assert settled(line) == requests.MAX_WAITING + 1


def test_nobody_waits_to_ask_a_federation_that_nobody_operates() -> None:
    line = line_of("alpha", "beta")
    line.ask("please", by="stranger", federation="nowhere")
    line.run()
    assert [letter.reason for letter in letters(line)] == ["unknown_key"]


def test_an_instance_may_ask() -> None:
    line = line_of("alpha", "beta")
    line.ask("please", by="alpha")
    line.run()
    assert len(line.events(SynchronizationAnnounced)) == 1


def test_where_enrolment_is_open_anybody_may_ask_in_nobodys_name() -> None:
    line = line_of("alpha", "beta", enrolment="open", operator_keys={})
    line.ask("please", by="stranger", requested_by=None)
    line.run()
    assert len(line.events(SynchronizationAnnounced)) == 1


def test_more_than_sixty_requests_a_minute_are_too_many() -> None:
    line = line_of("alpha", "beta")
    for number in range(61):
        line.ask(f"request-{number}")
    line.run()
    assert line.handled["collection", "flc.commands.v1", Outcome.DEAD_LETTERED] == 1
    line.now_ms += 60_000
    line.ask("request-61")
    line.run()
    assert line.handled["collection", "flc.commands.v1", Outcome.DEAD_LETTERED] == 1


def test_only_so_many_requests_wait_for_one_synchronization(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_ASKED", 2)
    line = line_of("alpha", "beta", acknowledgement_deadline_ms=3_600_000)
    line.ask("first")
    line.run()
    line.report("alpha", shared_rows(), 2)
    line.report("beta", shared_rows(), 2)
    line.run()
    # Given a synchronization that does not come to an end
    for name in ("second", "third", "fourth"):
        line.ask(name)
        line.wait(60_000)
    assert [letter.reason for letter in letters(line)] == ["rate_limited"]
    line.wait(3_600_000)
    assert [each.commands for each in collected(line)][:2] == [("first",), ("second", "third")]


def test_a_request_that_joins_is_one_of_so_many_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_ASKED", 2)
    line = line_of("alpha", "beta")
    for name in ("first", "second", "third"):
        line.ask(name)
        line.run()
    assert [letter.reason for letter in letters(line)] == ["rate_limited"]


# --- crashes


def test_a_collection_that_is_restarted_keeps_its_deadline() -> None:
    line = line_of("alpha", "beta", collection_deadline_ms=1_000, restarting=True)
    line.ask("please")
    line.run()
    opened_ms = line.now_ms
    line.wait(1_000)
    (collection,) = collected(line)
    assert collection.opened_at_ms == opened_ms


def test_a_result_that_comes_twice_changes_nothing() -> None:
    line = line_of("alpha", "beta")
    results = [record for record in line.log if dict(record.headers).get("ce_type") == b"ConvergenceUpdated"]
    line.report("alpha", shared_rows(), 2)
    line.append(results[0].topic, results[0].partition, "default", results[0].value, dict(results[0].headers))
    line.wait(2_000)
    assert covers(line)[-1] == ("alpha", 2, "included")
    assert line.handled["collection", "flc.convergence.v1", Outcome.DUPLICATE] == 1
