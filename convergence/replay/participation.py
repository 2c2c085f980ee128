"""Participation: in how many of the last synchronizations an instance was, since a barrier first named it."""

from collections.abc import Iterator
from dataclasses import dataclass

from convergence.replay.assembly import Round, Rounds
from schemas.rounds import AggregationCompleted, Participation, RoundKind, ValidationCompleted

#: So many completed synchronizations are looked at.
WINDOW = 10


@dataclass(frozen=True)
class Cut:
    """The moment at which the barrier of a round was made."""

    one: Round
    #: Offset of the validation that caused it; cuts follow each other in this order.
    offset: int
    instances: tuple[str, ...]
    members: frozenset[str]
    #: Offset of the completed aggregation, if it is there.
    completed_offset: int | None


class Attendance:
    """The synchronizations of a federation, and who was in them."""

    def __init__(self, rounds: Rounds, federation: str) -> None:
        self._cuts = sorted(_cuts(rounds, federation), key=lambda cut: cut.offset)
        #: Instance -> number of the last synchronization that was cut before a barrier first named it.
        self._since: dict[str, int] = {}
        last = 0
        for cut in self._cuts:
            synchronizes = cut.one.kind is RoundKind.SYNCHRONIZATION
            for instance in cut.instances:
                self._since.setdefault(instance, cut.one.number - 1 if synchronizes else last)
            if synchronizes:
                last = cut.one.number

    def possible(self, one: Round) -> list[Participation]:
        """Return what the barrier of a round may say.

        A synchronization that was being aggregated when an update was cut may have been completed before or
        after: which, is a decision of the order between topics. Then there are two answers.
        """
        own = next(cut for cut in self._cuts if cut.one is one)
        before = [
            cut for cut in self._cuts if cut.offset < own.offset and cut.one.kind is RoundKind.SYNCHRONIZATION
        ]
        sure = [
            cut for cut in before if cut.completed_offset is not None and cut.completed_offset < own.offset
        ]
        if one.kind is RoundKind.SYNCHRONIZATION or sure == before:
            return [self._participation(own, before)]
        return [self._participation(own, sure), self._participation(own, before)]

    def _participation(self, own: Cut, completed: list[Cut]) -> Participation:
        looked_at = [
            [cut for cut in completed if cut.one.number > self._since[instance]][-WINDOW:]
            for instance in own.instances
        ]
        return Participation(
            attended=tuple(
                sum(instance in cut.members for cut in cuts)
                for instance, cuts in zip(own.instances, looked_at, strict=True)
            ),
            counted=tuple(len(cuts) for cuts in looked_at),
        )


def _cuts(rounds: Rounds, federation: str) -> Iterator[Cut]:
    for kind in RoundKind:
        for one in rounds.of(federation, kind):
            validated = one.find(ValidationCompleted)
            if validated is None:
                continue
            instances = validated.event.instances
            aggregated = one.find(AggregationCompleted)
            members = (
                instance
                for instance, reason in zip(instances.instance_id, instances.drop_reason, strict=True)
                if reason is None
            )
            yield Cut(
                one,
                validated.offset,
                instances.instance_id,
                frozenset(members),
                None if aggregated is None else aggregated.first_offset,
            )
