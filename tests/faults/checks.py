"""The eight checks: what stands on the bus in the end, held against the replay and against itself."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from convergence.replay.findings import Finding, Verdict
from convergence.replay.log import Log, Stands, event_of
from convergence.replay.replay import Replay
from schemas.aggregation import RoundBarrier
from schemas.commands import SynchronizationRequested
from schemas.dead_letters import DeadLetter
from schemas.event import Event
from schemas.knowledge import AggregatedPattern
from schemas.reasons import Reason
from schemas.reports import Admission, PatternReport
from schemas.rounds import RoundKind
from tests.faults.load import Expected, Place
from workers.runtime.port import TopicPartition

#: What the check of that number is called.
NAMES = {
    1: "nothing missing, nothing extra, no phantom",
    2: "every result equals the reference",
    3: "dead letters equal, by place and reason",
    4: "read = accepted + dead-lettered + duplicate + stale",
    5: "no release below the threshold",
    6: "what was read during the faults is in the log, in its order",
    7: "positions, committed offsets and last stable offsets are at the end",
    8: "the restored state of every task equals the reference's",
}

E = TypeVar("E", bound=Event | DeadLetter)

#: The finding of the replay on dead letters.
LETTERS = "dead letters"


@dataclass
class Check:
    """One check: how much was compared, and what was wrong."""

    number: int
    compared: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What it is called."""
        return NAMES[self.number]

    def equal(self, where: str, ours: object, theirs: object) -> None:
        """Compare what is there with what has to be there."""
        self.compared += 1
        if ours != theirs:
            self.problems.append(f"{where}: {ours!r} instead of {theirs!r}")

    def holds(self, where: str, truth: object) -> None:
        """Take note whether something holds that must."""
        self.compared += 1
        if not truth:
            self.problems.append(where)


def events(log: Log, *types: type[E]) -> Iterator[Stands[E]]:
    """Yield the events of these types of one topic, also those that stand twice."""
    for record in log.of(types[0].topic):
        event = event_of(record)
        if isinstance(event, types):
            yield Stands(event, record)


@dataclass(frozen=True)
class Results:
    """The results of a trial, by what is wrong with them."""

    missing: int
    extra: int
    mismatched: int


class Letters:
    """Why records were refused: a letter is one record's, or, where letters are capped, that of several."""

    def __init__(self, letters: Iterable[DeadLetter]) -> None:
        self._own: dict[Place, set[Reason]] = defaultdict(set)
        self._common: list[DeadLetter] = []
        for letter in letters:
            if letter.count == 1:
                at = (letter.source_topic, letter.source_partition, letter.source_offset)
                self._own[at].add(letter.reason)
            else:
                self._common.append(letter)

    def of(self, place: Place) -> set[Reason]:
        """Return why a record was refused; nothing: it was not."""
        return self._own.get(place, set()) | {
            letter.reason
            for letter in self._common
            if (letter.source_topic, letter.source_partition) == place[:2]
            and letter.source_offset <= place[2] <= letter.last_offset
        }


@dataclass(frozen=True)
class Replayed:
    """The log of a trial and what its replay found."""

    log: Log
    replay: Replay
    findings: Sequence[Finding]

    @cached_property
    def letters(self) -> "Letters":
        """The dead letters."""
        return Letters([one.event for one in events(self.log, DeadLetter)])


def kind_of(finding: Finding) -> str:
    """Return what is wrong: missing, extra or mismatched; nothing if it is equal."""
    if finding.verdict is Verdict.EQUAL:
        return "missing" if finding.note else ""
    if finding.difference is None or finding.difference.recorded is None:
        return "missing"
    return "extra" if finding.difference.recomputed is None else "mismatched"


def results(findings: Sequence[Finding]) -> Results:
    """Count the findings by what is wrong."""
    kinds = Counter(map(kind_of, findings))
    return Results(kinds["missing"], kinds["extra"], kinds["mismatched"])


def _words(finding: Finding) -> str:
    return f"{finding.subject}: {finding.difference or finding.note or finding.verdict}"


def complete(replayed: Replayed, places: Sequence[Place]) -> Check:
    """1: whatever was acknowledged is there and answered, once; every request has its round."""
    check = Check(1)
    for finding in replayed.findings:
        check.compared += finding.compared
        if kind_of(finding) in {"missing", "extra"}:
            check.problems.append(f"{kind_of(finding)}: {_words(finding)}")
    there = {
        (record.topic, record.partition, record.offset)
        for records in replayed.log.records.values()
        for record in records
    }
    for place in places:
        check.holds(f"missing: {'/'.join(map(str, place))} was acknowledged", place in there)
    for what in _unanswered(replayed):
        check.problems.append(f"missing: {what}")
    return check


def _unanswered(replayed: Replayed) -> Iterator[str]:
    """Yield the reports that no update covers, and the requests that no synchronization answers."""
    phases = replayed.replay.phases
    for (federation, name), last in replayed.replay.reports.last.items():
        one = phases.get(federation)
        covered = None if one is None else one.collections.covered.get((RoundKind.UPDATE, name))
        if covered is None or covered < last.sequence:
            yield f"the cover of the report {last.sequence} of {federation}/{name}, covered up to {covered}"
    for record in replayed.log.of(SynchronizationRequested.topic):
        if not replayed.letters.of((record.topic, record.partition, record.offset)):
            event = SynchronizationRequested.model_validate_json(record.value or b"")
            one = phases.get(event.federation)
            if one is None or event.request_id not in one.collections.answered:
                yield f"the answer to the request {event.request_id} of {event.federation}"


def equal(replayed: Replayed) -> Check:
    """2: every result is what the replay computes, to the last digit."""
    check = Check(2)
    for finding in replayed.findings:
        if finding.subject != LETTERS:
            check.compared += finding.compared
            if kind_of(finding) == "mismatched":
                check.problems.append(_words(finding))
    return check


def lettered(replayed: Replayed, expected: Sequence[Expected], revoked: Collection[str]) -> Check:
    """3: the replay finds the same dead letters; what was spoilt has the letter that it was spoilt for.

    A report of a key that is revoked by the time of the judgement has the letter for that.
    """
    check = Check(3)
    for finding in replayed.findings:
        if finding.subject == LETTERS:
            check.compared += finding.compared
            if kind_of(finding):
                check.problems.append(_words(finding))
    for one in expected:
        found = replayed.letters.of(one.place)
        where = f"the letter of {'/'.join(map(str, one.place))} ({one.what})"
        if Reason.REVOKED_KEY not in found or one.key not in revoked:
            check.holds(f"{where}: {sorted(found)} instead of {one.reason}", one.reason in found)
    return check


Accounts = Mapping[tuple[str, str], tuple[int, int]]


def conserved(replayed: Replayed, accounts: Mapping[str, Accounts | None]) -> Check:
    """4: every report of every partition has one outcome, every row too; every process has settled all."""
    check = Check(4)
    settled: dict[int, Counter[str]] = defaultdict(Counter)
    for stands in events(replayed.log, Admission):
        event = stands.event
        rejected = sum(event.rejected.values())
        check.equal(f"rows of {stands}", event.accepted + rejected, event.received)
        outcome = event.outcome.partition(":")[0]
        if outcome != "refused":  # it has a letter, too
            settled[event.position.partition][outcome] += 1
    for letter in events(replayed.log, DeadLetter):
        if letter.event.source_topic == PatternReport.topic:
            settled[letter.event.source_partition]["dead-lettered"] += letter.event.count
    for partition in range(replayed.log.partitions[PatternReport.topic]):
        read = len(replayed.log.records.get((PatternReport.topic, partition), ()))
        where = f"{PatternReport.topic}/{partition}: {dict(settled[partition])}"
        check.equal(where, sum(settled[partition].values()), read)
    for process, of in accounts.items():
        check.holds(f"{process} does not tell what it has settled", of is not None)
        for (worker, topic), (read, done) in (of or {}).items():
            check.equal(f"{process}: records of {topic} settled by {worker}", done, read)
    return check


def released(replayed: Replayed) -> Check:
    """5: counted once more from what the barriers name, with nothing of the replay's sums."""
    check = Check(5)
    contributors: dict[tuple[str, str], set[str]] = defaultdict(set)
    thresholds: dict[str, int] = {}
    for stands in events(replayed.log, RoundBarrier):
        barrier, bucket = stands.event, stands.record.partition
        if barrier.kind is not RoundKind.SYNCHRONIZATION:
            continue
        thresholds[barrier.round_id] = barrier.configuration.release_threshold
        named = barrier.instances
        for instance, organisation, sequence, weight in zip(
            named.instance_id, named.organisation, named.sequence, named.weight, strict=True
        ):
            address = (barrier.federation, instance)
            held = replayed.replay.contributions.named(bucket, address, sequence, stands.record.offset)
            for signature in held.rows if held is not None and weight else ():
                contributors[barrier.round_id, signature].add(organisation)
    for pattern in events(replayed.log, AggregatedPattern):
        event = pattern.event
        count = len(contributors[event.round_id, event.pattern_id])
        where = f"{event.pattern_id} of {event.round_id} was released with {count} organisations"
        check.holds(where, count >= thresholds.get(event.round_id, 1 << 30))
    return check


def read_during(
    seen: Mapping[TopicPartition, Sequence[tuple[int, bytes]]],
    final: Mapping[TopicPartition, Mapping[int, bytes]],
) -> Check:
    """6: a reader of what is committed saw part of the final log: no aborted record, nothing twice."""
    check = Check(6)
    for at, records in seen.items():
        before = -1
        for offset, digest in records:
            where = f"{at.topic}/{at.partition}/{offset}"
            check.holds(f"{where}, read behind {before}", offset > before)
            check.holds(f"{where} was read and is not in the log", final.get(at, {}).get(offset) == digest)
            before = offset
    return check
