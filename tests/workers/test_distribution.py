"""Whose acknowledgement is awaited, and until when."""

import pytest

from schemas.convergence import KnowledgeAnnounced
from schemas.dead_letters import DeadLetter
from schemas.knowledge import KnowledgeAcknowledged
from schemas.rounds import DetectionCompleted, DistributionCompleted, RoundKind
from tests.workers.line import Line, shared_rows
from workers.fold import Outcome

ROUND = "default/synchronization/1"
TOPIC = KnowledgeAcknowledged.topic


def announced(*, restarting: bool = False, answering: tuple[str, ...] = ("alpha", "beta")) -> Line:
    """Return a line whose first synchronization has just announced its knowledge; gamma is a straggler."""
    line = Line(
        collection_deadline_ms=1_000, acknowledgement_deadline_ms=5_000, restarting=restarting, batch=4
    )
    for name in ("alpha", "beta", "gamma"):
        line.report(name, shared_rows(), 1)
    line.ask("please")
    line.run()
    for name in answering:
        line.report(name, shared_rows(), 2)
    line.wait(1_000)
    return line


def outcome(line: Line, which: Outcome) -> int:
    return line.handled["distribution", TOPIC, which]


def test_it_announces_the_knowledge_and_waits() -> None:
    line = announced()
    (event,) = line.events(KnowledgeAnnounced)
    assert (event.round_id, event.deadline_ms) == (ROUND, line.now_ms + 5_000)
    assert line.events(DistributionCompleted) == []


def test_it_completes_at_once_when_all_that_answered_have_acknowledged() -> None:
    line = announced(restarting=True)
    line.acknowledge("alpha", ROUND)
    line.run()
    assert line.events(DistributionCompleted) == []
    line.acknowledge("beta", ROUND)
    line.run()
    (completed,) = line.events(DistributionCompleted)
    assert (completed.acknowledged, completed.missing) == (("alpha", "beta"), ())


def test_at_the_deadline_the_others_are_missing() -> None:
    line = announced(restarting=True)
    line.acknowledge("beta", ROUND)
    line.wait(4_999)
    assert line.events(DistributionCompleted) == []
    line.wait(1)
    (completed,) = line.events(DistributionCompleted)
    assert (completed.acknowledged, completed.missing) == (("beta",), ("alpha",))


def test_it_completes_at_once_when_nobody_is_awaited() -> None:
    line = announced(answering=())
    assert len(line.events(KnowledgeAnnounced)) == 1
    (completed,) = line.events(DistributionCompleted)
    assert (completed.acknowledged, completed.missing) == ((), ())


def test_an_acknowledgement_at_the_deadline_is_stale_though_no_tick_has_come() -> None:
    line = announced()
    line.acknowledge("alpha", ROUND)
    line.now_ms += 5_000
    line.acknowledge("beta", ROUND)
    line.run()
    assert outcome(line, Outcome.STALE) == 1
    line.wait(0)
    assert line.events(DistributionCompleted)[0].missing == ("beta",)


@pytest.mark.parametrize("round_id", ["default/synchronization/7", "default/update/1"])
def test_an_acknowledgement_of_another_round_is_stale(round_id: str) -> None:
    line = announced()
    line.acknowledge("alpha", round_id)
    line.run()
    assert outcome(line, Outcome.STALE) == 1


def test_a_second_acknowledgement_is_a_duplicate_and_a_stragglers_is_welcome() -> None:
    line = announced()
    for name in ("alpha", "alpha", "gamma"):
        line.acknowledge(name, ROUND)
    line.run()
    assert (outcome(line, Outcome.DUPLICATE), outcome(line, Outcome.ACCEPTED)) == (1, 2)
    assert line.events(DistributionCompleted) == []


@pytest.mark.parametrize(
    ("name", "key", "reason"), [("alpha", "beta", "unknown_key"), ("stranger", None, "unknown_instance")]
)
def test_an_acknowledgement_with_the_wrong_key_is_a_dead_letter(
    name: str, key: str | None, reason: str
) -> None:
    line = announced()
    line.acknowledge(name, ROUND, key=key)
    line.run()
    (letter,) = [record for record in line.log if record.topic == DeadLetter.topic]
    assert DeadLetter.model_validate_json(letter.value or b"").reason == reason
    assert outcome(line, Outcome.DEAD_LETTERED) == 1


def test_a_deregistered_instance_can_no_longer_acknowledge() -> None:
    line = announced()
    line.forget("alpha")
    line.acknowledge("alpha", ROUND)
    line.run()
    assert outcome(line, Outcome.DEAD_LETTERED) == 1


def test_updates_are_not_distributed_and_a_detection_that_comes_twice_is_a_duplicate() -> None:
    line = announced()
    (detected,) = [each for each in line.events(DetectionCompleted) if each.kind is RoundKind.SYNCHRONIZATION]
    line.publish(detected, detected.round_id, line.federation_partition(), "again")
    line.run()
    assert len(line.events(KnowledgeAnnounced)) == 1
    assert line.handled["distribution", DetectionCompleted.topic, Outcome.DUPLICATE] == 1
