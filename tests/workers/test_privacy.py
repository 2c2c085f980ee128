"""What the privacy worker lets pass, and how it accounts for everything that it read."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import columns, signing
from schemas.dead_letters import DeadLetter
from schemas.event import MAX_RECORD_BYTES
from schemas.reasons import Reason, RowReason
from schemas.reports import Admission, Contribution
from tests.deployments import NOW_MS, Instance, context, good_row, key_of
from workers.contributions import Entry, contributions
from workers.fold import Outcome, Record, Step
from workers.privacy import Privacy, PrivacyState

BUCKETS = 3


def started(*instances: Instance) -> tuple[Privacy, PrivacyState]:
    """Return a worker that knows these instances."""
    worker = Privacy(context())
    state = worker.state()
    worker.step(state, [instance.registered() for instance in instances])
    return worker, state


def admissions(step: Step) -> list[Admission]:
    return [emit.event for emit in step.emits if isinstance(emit.event, Admission)]


def letters(step: Step) -> list[DeadLetter]:
    return [emit.event for emit in step.emits if isinstance(emit.event, DeadLetter)]


def contributed(step: Step) -> list[tuple[int, Contribution]]:
    return [(emit.partition, emit.event) for emit in step.emits if isinstance(emit.event, Contribution)]


def outcomes(step: Step) -> list[str]:
    return [admission.outcome for admission in admissions(step)]


def test_a_report_is_admitted_and_its_rows_go_to_their_buckets() -> None:
    alpha = Instance()
    worker, state = started(alpha)
    step = worker.step(state, [alpha.report(9)])
    (admission,) = admissions(step)
    assert (admission.received, admission.accepted, admission.outcome) == (9, 9, "admitted")
    assert [partition for partition, _ in contributed(step)] == [0, 1, 2]
    for partition, event in contributed(step):
        ids = columns.signature_ids(columns.decode(event))
        assert ids == [good_row(index)["signature_id"] for index in range(partition, 9, BUCKETS)]
        assert event.entries.sequence == (NOW_MS,)
    assert step.handled == {("flc.reports.v1", Outcome.ACCEPTED): 1}


def test_a_report_of_nothing_replaces_in_every_bucket() -> None:
    alpha = Instance()
    worker, state = started(alpha)
    step = worker.step(state, [alpha.report(0)])
    assert [(partition, event.entries.rows) for partition, event in contributed(step)] == [
        (0, (0,)),
        (1, (0,)),
        (2, (0,)),
    ]


def test_a_batch_is_one_contribution_in_each_bucket_and_federation() -> None:
    fleet = [Instance(name) for name in ("alpha", "beta", "gamma")]
    foreign = Instance("alpha", federation="other", key=key_of("foreign"))
    worker, state = started(*fleet, foreign)
    step = worker.step(state, [one.report(2) for one in (*fleet, foreign)])
    assert len(contributed(step)) == 2 * BUCKETS
    assert {(event.federation, event.entries.instance_id) for _, event in contributed(step)} == {
        ("default", ("alpha", "beta", "gamma")),
        ("other", ("alpha",)),
    }


def test_both_reports_of_an_instance_in_a_batch_are_there_in_their_order() -> None:
    alpha = Instance()
    worker, state = started(alpha)
    step = worker.step(state, [alpha.report(1, NOW_MS), alpha.report(2, NOW_MS + 1)])
    assert outcomes(step) == ["admitted", "admitted"]
    assert {event.entries.sequence for _, event in contributed(step)} == {(NOW_MS, NOW_MS + 1)}


def test_a_report_right_behind_its_registration_is_admitted() -> None:
    alpha = Instance()
    worker = Privacy(context())
    assert outcomes(worker.step(worker.state(), [alpha.report(), alpha.registered()])) == ["admitted"]


def test_a_bad_row_is_counted_and_costs_no_other() -> None:
    alpha = Instance()
    worker, state = started(alpha)
    step = worker.step(state, [alpha.report([{}, {"signature_id": "?"}, {"epistemic_certainty": 0.5}])])
    (admission,) = admissions(step)
    assert admission.accepted == 1
    assert admission.rejected == {RowReason.BAD_SIGNATURE_ID: 1, RowReason.LOW_CERTAINTY: 1}
    assert step.rows == {
        ("accepted", ""): 1,
        ("rejected", "bad_signature_id"): 1,
        ("rejected", "low_certainty"): 1,
    }


def test_what_is_not_authenticated_gets_a_dead_letter_only() -> None:
    alpha = Instance()
    worker, state = started(alpha)
    step = worker.step(
        state,
        [
            alpha.raw(b"{}", by=key_of("mallory")),
            replace(alpha.report(), value=b"{}"),
            Instance("nobody").report(),
            replace(alpha.report(), value=b" " * (MAX_RECORD_BYTES + 1)),
        ],
    )
    assert [letter.reason for letter in letters(step)] == [
        Reason.UNKNOWN_KEY,
        Reason.BAD_SIGNATURE,
        Reason.UNKNOWN_INSTANCE,
        Reason.TOO_LARGE,
    ]
    assert admissions(step) == []


@pytest.mark.parametrize(
    ("change", "reason", "sequence"),
    [
        ({"module": "billing"}, Reason.UNKNOWN_FIELD, NOW_MS),
        ({"strength": [0.1]}, Reason.RAGGED_COLUMNS, NOW_MS),
        ({"sequence": "now"}, Reason.WRONG_TYPE, None),
        ({"instance_id": "beta"}, Reason.KEY_MISMATCH, None),
        ({"sequence": NOW_MS + 10**9}, Reason.TOO_EARLY, NOW_MS + 10**9),
        ({"sequence": NOW_MS - 10**9}, Reason.TOO_OLD, NOW_MS - 10**9),
    ],
)
def test_an_authenticated_report_that_is_refused_gets_both(
    change: dict[str, Any], reason: Reason, sequence: int | None
) -> None:
    alpha = Instance()
    worker, state = started(alpha)
    step = worker.step(state, [alpha.raw(orjson.dumps(alpha.document() | change))])
    (admission,) = admissions(step)
    (letter,) = letters(step)
    assert (admission.outcome, admission.sequence) == (f"refused:{reason}", sequence)
    assert (letter.reason, letter.federation) == (reason, "default")
    assert admission.position.offset == letter.source_offset
    assert contributed(step) == []


def test_a_report_that_comes_again_is_a_duplicate_and_an_older_one_is_stale() -> None:
    alpha = Instance()
    worker, state = started(alpha)
    first, second = alpha.report(1, NOW_MS), alpha.report(1, NOW_MS + 1)
    step = worker.step(state, [first, second, second, first])
    assert outcomes(step) == ["admitted", "admitted", "duplicate", "stale"]
    assert letters(step) == []
    assert step.handled["flc.reports.v1", Outcome.STALE] == 1


def test_a_report_from_the_far_future_does_not_shut_out_the_present() -> None:
    alpha = Instance()
    worker, state = started(alpha)
    step = worker.step(state, [alpha.report(sequence=NOW_MS * 2), alpha.report()])
    assert outcomes(step) == ["refused:too_early", "admitted"]


def test_a_revoked_key_signs_no_report() -> None:
    alpha = Instance()
    worker, state = started(alpha)
    keys = [{"key": alpha.public_key, "revoked": True}, {"key": signing.public_key(key_of("new"))}]
    step = worker.step(state, [alpha.report(), alpha.registered(2, public_keys=keys)])
    assert [letter.reason for letter in letters(step)] == [Reason.REVOKED_KEY]


def test_an_instance_that_leaves_is_removed_from_every_bucket() -> None:
    alpha = Instance()
    worker, state = started(alpha)
    worker.step(state, [alpha.report()])
    step = worker.step(state, [alpha.deregistered()])
    assert [(partition, event.entries) for partition, event in contributed(step)] == [
        (bucket, contributed(step)[0][1].entries) for bucket in range(BUCKETS)
    ]
    entries = contributed(step)[0][1].entries
    assert (entries.instance_id, entries.sequence, entries.removed) == (("alpha",), (NOW_MS,), (True,))


def test_the_sequence_goes_on_after_a_return() -> None:
    alpha = Instance()
    worker, state = started(alpha)
    worker.step(state, [alpha.report()])
    worker.step(state, [alpha.deregistered(2), alpha.registered(3)])
    assert outcomes(worker.step(state, [alpha.report()])) == ["duplicate"]


def refused_and_redriven(alpha: Instance, first: Record, at_ms: int) -> Record:
    """Return the record as the operator sends it again at a later time."""
    headers = (("flc_redriven_from", f"flc.reports.v1/0/{first.offset}".encode()), ("flc_redrives", b"1"))
    alpha.offset += 1
    return replace(first, offset=alpha.offset, append_ms=at_ms, headers=(*first.headers, *headers))


def braked(**limits: Any) -> tuple[Privacy, PrivacyState, Instance]:
    """Return a worker with these limits that knows alpha."""
    alpha = Instance()
    worker = Privacy(context(**limits))
    state = worker.state()
    worker.step(state, [alpha.registered()])
    return worker, state, alpha


def test_a_million_reports_of_one_instance_are_braked() -> None:
    worker, state, alpha = braked(max_reports_a_minute=2)
    step = worker.step(state, [alpha.report(1, NOW_MS + index) for index in range(3)])
    assert outcomes(step) == ["admitted", "admitted", "refused:rate_limited"]
    assert outcomes(worker.step(state, [alpha.report(1, NOW_MS + 60_000)])) == ["admitted"]


def test_the_bytes_of_one_instance_are_braked() -> None:
    size = len(Instance().report(1).value or b"")
    worker, state, alpha = braked(max_report_bytes_a_minute=2 * size)
    step = worker.step(state, [alpha.report(1, NOW_MS + index) for index in range(3)])
    assert outcomes(step) == ["admitted", "admitted", "refused:rate_limited"]


def test_a_restart_does_not_forget_the_pace() -> None:
    worker, state, alpha = braked(max_reports_a_minute=1)
    worker.step(state, [alpha.report(1)])
    assert outcomes(worker.step(restored(worker, state), [alpha.report(1, NOW_MS + 1)])) == [
        "refused:rate_limited"
    ]


def test_the_pace_of_an_instance_is_not_used_up_by_its_reports_sent_again() -> None:
    worker, state, alpha = braked(max_reports_a_minute=2)
    first = alpha.report(1)
    step = worker.step(state, [first, first, first, alpha.report(1, NOW_MS + 1)])
    assert outcomes(step) == ["admitted", "duplicate", "duplicate", "admitted"]


def test_a_refused_report_that_is_acceptable_by_now_is_admitted_once_when_it_is_redriven() -> None:
    worker, state, alpha = braked(max_reports_a_minute=1)
    late = alpha.report(1, NOW_MS + 1)
    worker.step(state, [alpha.report(1), late])
    redriven = refused_and_redriven(alpha, late, NOW_MS + 60_000)
    assert outcomes(worker.step(restored(worker, state), [redriven, redriven])) == ["admitted", "duplicate"]


def test_a_refused_report_that_is_only_sent_again_stays_refused() -> None:
    worker, state, alpha = braked(max_reports_a_minute=1)
    late = alpha.report(1, NOW_MS + 1)
    worker.step(state, [alpha.report(1), late])
    assert outcomes(worker.step(state, [replace(late, append_ms=NOW_MS + 60_000)])) == ["duplicate"]


def test_a_redriven_report_does_not_replace_a_newer_one() -> None:
    worker, state, alpha = braked(max_reports_a_minute=1)
    late = alpha.report(1, NOW_MS + 1)
    worker.step(state, [alpha.report(1), late, alpha.report(1, NOW_MS + 60_000)])
    step = worker.step(state, [refused_and_redriven(alpha, late, NOW_MS + 60_001)])
    assert outcomes(step) == ["stale"]


def test_a_redriven_report_that_is_refused_again_says_how_often_it_came() -> None:
    alpha = Instance()
    worker, state = started()
    first = alpha.report(1)
    step = worker.step(state, [refused_and_redriven(alpha, first, NOW_MS)])
    (letter,) = letters(step)
    assert (letter.reason, letter.redriven_from, letter.redrives) == (
        Reason.UNKNOWN_INSTANCE,
        f"flc.reports.v1/0/{first.offset}",
        1,
    )


def test_contributions_are_cut_before_they_grow_too_large() -> None:
    alpha, beta, gamma = (Instance(name) for name in ("alpha", "beta", "gamma"))
    words = [{"pattern_type": f"w{index}"} for index in range(200)]
    more = [{"pattern_type": f"x{index}"} for index in range(200)]
    worker = Privacy(context(partitions={"flc.contributions.v1": 1}))
    state = worker.state()
    worker.step(state, [one.registered() for one in (alpha, beta, gamma)])
    reports = [alpha.report(words), beta.report(more), gamma.report(more)]
    step = worker.step(state, [replace(one, offset=offset) for offset, one in enumerate(reports)])
    assert [event.entries.instance_id for _, event in contributed(step)] == [("alpha",), ("beta", "gamma")]
    assert [event.pattern_types[0] for _, event in contributed(step)] == ["w0", "x0"]
    assert len({emit.id for emit in step.emits}) == len(step.emits)


def test_no_contribution_is_larger_than_a_part() -> None:
    fleet = [Instance(f"i{number}") for number in range(7)]
    worker = Privacy(context(partitions={"flc.contributions.v1": 1}))
    state = worker.state()
    worker.step(state, [one.registered() for one in fleet])
    step = worker.step(state, [one.report(5_000) for one in fleet])
    sizes = [len(event.encode()) for _, event in contributed(step)]
    assert len(sizes) == 2
    assert max(sizes) <= 900_000


def test_many_instances_without_rows_are_cut_too() -> None:
    entries = [Entry(f"i{number}", "acme", 1) for number in range(2_500)]
    rows, entry = np.zeros(0, columns.ROW), np.zeros(0, np.int64)
    parts = list(contributions("default", entries, rows, entry, [], bucket_count=1))
    assert [len(event.entries) for _, event in parts] == [1_000, 1_000, 500]


ALPHA, BETA = Instance("alpha"), Instance("beta")
ROW = st.sampled_from([{}, {"signature_id": "?"}, {"frequency": 0}, {"epistemic_certainty": 0.1}])
REPORTS = st.one_of(
    st.builds(
        lambda one, rows, at: one.report(rows, NOW_MS + at),
        st.sampled_from([ALPHA, BETA]),
        st.lists(ROW, max_size=4),
        st.integers(0, 3),
    ),
    st.sampled_from(
        [
            ALPHA.raw(b"{}"),
            ALPHA.raw(b"[" * 9),
            replace(ALPHA.report(), value=b""),
            replace(ALPHA.report(), value=None),
            replace(ALPHA.report(), key=None),
            Instance("nobody").report(),
            ALPHA.deregistered(1),
            ALPHA.deregistered(2),
            ALPHA.registered(3),
            BETA.registered(by=key_of("mallory")),
        ]
    ),
)


@settings(deadline=None)
@given(st.lists(st.lists(REPORTS, max_size=6), max_size=4))
def test_nothing_is_lost(batches: list[list[Record]]) -> None:
    """Records: read = accepted + dead lettered + duplicate + stale. Rows: received = accepted + rejected."""
    worker, state = started(ALPHA, BETA)
    for batch in batches:
        step = worker.step(state, batch)
        assert sum(step.handled.values()) == len(batch)
        assert Counter(topic for topic, _ in step.handled.elements()) == Counter(one.topic for one in batch)
        dead = sum(count for (_, outcome), count in step.handled.items() if outcome is Outcome.DEAD_LETTERED)
        assert dead == len(letters(step))
        for one in admissions(step):
            assert one.received == one.accepted + sum(one.rejected.values())
        rows = sum(sum(event.entries.rows) for _, event in contributed(step))
        assert rows == sum(one.accepted for one in admissions(step)) == step.rows["accepted", ""]
        assert rows == sum(len(columns.decode(event)) for _, event in contributed(step))


def restored(worker: Privacy, state: PrivacyState) -> PrivacyState:
    """Return the state as its changelog gives it back."""
    again = worker.state()
    for key, value in state.changes():
        again.load(key, value)
    return again


def test_the_state_comes_back_from_its_changelog() -> None:
    alpha = Instance()
    worker, state = started(alpha)
    worker.step(state, [alpha.report()])
    step = worker.step(restored(worker, state), [alpha.report(), alpha.report(at_ms=NOW_MS + 1)])
    assert outcomes(step) == ["duplicate", "admitted"]
