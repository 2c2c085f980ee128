"""The collection of a round: its decisions are taken as given, the facts that it states are not."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from convergence.replay import documents, weights
from convergence.replay.assembly import Round, Whole
from convergence.replay.findings import Comparison, Difference, DifferentError
from convergence.replay.health import RELIABILITIES, Facts, one_of
from convergence.replay.log import Log, event_type
from schemas.commands import SynchronizationRequested
from schemas.health import Status
from schemas.reasons import DropReason
from schemas.reports import PatternReport
from schemas.rounds import CollectionCompleted, Phase, RoundKind


@dataclass
class Collections:
    """Holds the collections of a federation against its reports, in the order of the rounds."""

    log: Log
    facts: Facts
    #: (kind, instance) -> the last sequence that a completed round of the kind covered.
    covered: dict[tuple[RoundKind, str], int] = field(default_factory=dict)
    #: Request -> the round that answered it.
    answered: dict[str, str] = field(default_factory=dict)

    def examine(self, one: Round, collected: Whole[CollectionCompleted], comparison: Comparison) -> None:
        """Compare what is stated of the instances, and whom the round answers; raises DifferentError."""
        event, where = collected.event, collected.name
        names = list(event.instances.instance_id)
        comparison.values(f"{where}.instances.instance_id", names, sorted(set(names)))
        started = {Phase.COLLECTION: event.opened_at_ms}
        comparison.values(f"{where}.phase_started_ms", event.phase_started_ms, started)
        self._commands(one, where, event, comparison)
        if self.log.is_cut(PatternReport.topic):
            return
        for row in range(len(names)):
            self._instance(f"{where}.instances[{row}]", one.federation, event, row, comparison)
        self._covers(one, where, event, comparison)

    def _commands(self, one: Round, where: str, event: CollectionCompleted, comparison: Comparison) -> None:
        for command in event.commands:
            again = self.answered.setdefault(command, one.round_id)
            comparison.values(f"{where}.commands: {command} is answered by", again, one.round_id)
        if event.commands and not self.log.is_cut(SynchronizationRequested.topic):
            unknown = {each for each in event.commands if (one.federation, each) not in self._requests}
            comparison.values(f"{where}.commands: never requested", sorted(unknown), [])

    @cached_property
    def _requests(self) -> frozenset[tuple[str, str]]:
        """Federation and request, of everything that was requested."""
        requests = set()
        for record in self.log.of(SynchronizationRequested.topic):
            if event_type(record) == SynchronizationRequested.__name__:
                event = documents.parse(record.value or b"", SynchronizationRequested)
                if isinstance(event, SynchronizationRequested):
                    requests.add((event.federation, event.request_id))
        return frozenset(requests)

    def _instance(
        self, where: str, federation: str, event: CollectionCompleted, row: int, comparison: Comparison
    ) -> None:
        instances = event.instances
        address = (federation, instances.instance_id[row])
        sequence, quality = instances.sequence[row], instances.data_quality[row]
        taken = self.facts.reports.taken.get(address, {}).get(sequence)
        if taken is None:
            raise DifferentError(Difference(f"{where}.sequence: no such report was admitted", sequence, None))
        comparison.values(f"{where}.rows", instances.rows[row], len(taken.rows))
        one_of(f"{where}.organisation", instances.organisation[row], self.facts.organisations(address))
        one_of(f"{where}.data_quality", quality, self.facts.qualities(address, sequence))
        minimum = event.configuration.min_instance_weight
        one_of(f"{where}.weight", instances.weight[row], _possible_weights(quality, len(taken.rows), minimum))
        reason = instances.drop_reason[row]
        absent = instances.status[row] not in {Status.ACTIVE, Status.DEGRADED}
        reasons = {DropReason.NOT_ACTIVE} if absent else {None, DropReason.REPORT_TOO_OLD}
        one_of(f"{where}.drop_reason", reason, reasons)
        if reason is not None or event.kind is RoundKind.UPDATE:
            one_of(f"{where}.straggler", instances.straggler[row], {False})

    def _covers(self, one: Round, where: str, event: CollectionCompleted, comparison: Comparison) -> None:
        """Whoever has a report that was judged since the last round of the kind is answered, once."""
        dropped = dict(zip(event.instances.instance_id, event.instances.drop_reason, strict=True))
        names = [cover.instance_id for cover in event.covers]
        comparison.values(f"{where}.covers: the instances", names, sorted(set(names)))
        for place, cover in enumerate(event.covers):
            here, address = f"{where}.covers[{place}]", (one.federation, cover.instance_id)
            outcomes = self.facts.outcomes(address, cover.sequence)
            if not outcomes:
                raise DifferentError(Difference(f"{here}.sequence: no such report", cover.sequence, None))
            included = dropped.get(cover.instance_id) is None
            admitted = "included" if included else DropReason.NOT_ACTIVE.value
            possible = {admitted if each == "admitted" else each for each in outcomes}
            one_of(f"{here}.outcome", cover.outcome, possible)
            last = self.covered.get((one.kind, cover.instance_id), -1)
            if cover.sequence <= last and not self.facts.has_left(address):
                raise DifferentError(Difference(f"{here}.sequence: covered before", cover.sequence, last))
        for instance, sequence in zip(event.instances.instance_id, event.instances.sequence, strict=True):
            if sequence > self.covered.get((one.kind, instance), -1) and instance not in names:
                raise DifferentError(Difference(f"{where}.covers: {instance}", None, sequence))

    def completed(self, event: CollectionCompleted) -> None:
        """Take note that a round was completed: what it covers is answered."""
        for cover in event.covers:
            self.covered[event.kind, cover.instance_id] = cover.sequence


@lru_cache(maxsize=1_024)
def _possible_weights(quality: int, rows: int, minimum: int) -> frozenset[int]:
    """Return what an instance may weigh, whatever its reliability."""
    return frozenset(weights.weight(each, quality, rows, minimum) for each in RELIABILITIES)
