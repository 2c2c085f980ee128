"""Dead letters: every refused record has its own, for its own reason, and nothing else has one.

Where the registration that refused a record is not recorded, any reason will do that some registration of the
instance gives; the pace of a sender, and the keys that the phases knew of, are decisions and taken as given.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from convergence.replay import senders
from convergence.replay.findings import Comparison, Difference, DifferentError
from convergence.replay.log import Log, Record, Stands
from convergence.replay.registrations import Registrations
from convergence.replay.reports import Reports
from convergence.replay.rules import Rules
from convergence.replay.senders import Sent, redriven
from schemas.commands import SynchronizationRequested
from schemas.dead_letters import DeadLetter
from schemas.event import Inbound
from schemas.instances import Heartbeat, InstanceRegistered
from schemas.knowledge import KnowledgeAcknowledged
from schemas.reasons import Reason
from schemas.reports import PatternReport

#: How old the sending time of a request may be.
MAX_REQUEST_AGE_MS = 5 * 60_000

#: No request may have more bytes.
MAX_REQUEST_BYTES = 2048

#: So many records of a partition get letters of their own in a minute for a reason; the rest one, later.
LETTERS_A_MINUTE = 100

MINUTE_MS = 60_000

#: Why a key may not speak.
OF_A_KEY = frozenset({Reason.UNKNOWN_INSTANCE, Reason.UNKNOWN_KEY, Reason.REVOKED_KEY, Reason.KEY_NOT_VALID})


#: Who refuses what instances and operators send.
STAGES = {
    InstanceRegistered.topic: "privacy",
    PatternReport.topic: "privacy",
    Heartbeat.topic: "health",
    SynchronizationRequested.topic: "collection",
    KnowledgeAcknowledged.topic: "distribution",
}

#: (topic, partition) of a source.
Source = tuple[str, int]


@dataclass(frozen=True)
class Letter:
    """What a dead letter says of one or, where letters are capped, of several records."""

    reason: Reason
    first: int
    last: int
    count: int
    stands: Stands[DeadLetter]

    def holds(self, offset: int, possible: set[Reason | None]) -> bool:
        """Tell whether it may stand for a record."""
        return self.first <= offset <= self.last and self.reason in possible


def letters(log: Log, comparison: Comparison) -> dict[Source, list[Letter]]:
    """Return the dead letters by their source; raises DifferentError."""
    found: dict[Source, list[Letter]] = {}
    for stands in log.events(DeadLetter):
        event = stands.event
        place = f"{event.source_topic}/{event.source_partition}/{event.source_offset}"
        comparison.values(f"{stands}: the source", place, (stands.record.key or b"").decode())
        if event.count == 1:
            comparison.values(f"{stands}.last_offset", event.last_offset, event.source_offset)
        letter = Letter(event.reason, event.source_offset, event.last_offset, event.count, stands)
        found.setdefault((event.source_topic, event.source_partition), []).append(letter)
    return found


@dataclass(frozen=True)
class Examination:
    """Holds the dead letters against the records that instances and operators sent."""

    log: Log
    rules: Rules
    registrations: Registrations
    reports: Reports
    letters: Mapping[Source, Sequence[Letter]]
    comparison: Comparison

    def run(self) -> int:
        """Look at every record that was sent; return how many at the ends have no letter yet.

        Raises DifferentError.
        """
        judges = {
            InstanceRegistered.topic: self._of_registration,
            PatternReport.topic: self._of_report,
            Heartbeat.topic: self._of_heartbeat,
            SynchronizationRequested.topic: self._of_request,
            KnowledgeAcknowledged.topic: self._of_acknowledgement,
        }
        waiting = sum(
            self._partition((topic, partition), judge)
            for topic, judge in judges.items()
            for partition in range(self.log.partitions.get(topic, 0))
        )
        for (topic, partition), written in self.letters.items():
            if topic in judges and partition >= self.log.partitions[topic]:
                raise DifferentError(Difference(f"{written[0].stands}.source_partition", partition, None))
        return waiting

    def _partition(self, source: Source, judge: Callable[[Record], set[Reason | None]]) -> int:
        """Look at a partition: first at the letters that are there, then for those that are not."""
        written = self.letters.get(source, ())
        single = _singles(source, written)
        capped = [letter for letter in written if letter.count > 1]
        records = {record.offset: record for record in self.log.records.get(source, ())}
        possible = {offset: judge(record) for offset, record in records.items()}
        kept = self.log.start(*source)
        for offset, letter in single.items():
            if offset in possible:
                self._letter(letter.stands, records[offset], possible[offset])
            elif offset >= kept and letter.reason is not Reason.CORRUPT_BATCH:
                raise DifferentError(Difference(str(letter.stands), letter.reason, None))
        unanswered = [
            each for each, reasons in possible.items() if each not in single and None not in reasons
        ]
        for letter in capped:
            held = [each for each in unanswered if letter.holds(each, possible[each])]
            # The reader of a log has nothing where bytes stand that nobody can decode.
            if letter.first >= kept and letter.reason is not Reason.CORRUPT_BATCH:
                self.comparison.values(f"{letter.stands}.count", letter.count, len(held))
            unanswered = [each for each in unanswered if each not in held]
        answered = max((letter.last for letter in written), default=-1)
        full = self._full_minutes(single.values())
        for offset in unanswered:
            if offset <= answered and not full & possible[offset]:
                self._reason(f"the letter of {source[0]}/{source[1]}/{offset}", None, possible[offset])
        return len(unanswered)

    def _full_minutes(self, single: Iterable[Letter]) -> set[Reason | None]:
        """Return the reasons whose cap was reached in a minute that may not be over yet."""
        counts = Counter((letter.reason, letter.stands.event.append_ms // MINUTE_MS) for letter in single)
        return {
            reason
            for (reason, minute), count in counts.items()
            if count >= LETTERS_A_MINUTE and (minute + 1) * MINUTE_MS > self.log.settled_ms
        }

    def _letter(self, stands: Stands[DeadLetter], record: Record, possible: set[Reason | None]) -> None:
        """Compare a letter with its record; its digest is keyed, its version that of the code."""
        self._reason(str(stands), stands.event.reason, possible)
        source, redrives = redriven(record) or (None, 0)
        facts = {
            "stage": STAGES[record.topic],
            "length": len(record.value or b""),
            "append_ms": record.append_ms,
            "redriven_from": source,
            "redrives": redrives,
        }
        self.comparison.values(str(stands), {name: getattr(stands.event, name) for name in facts}, facts)

    def _reason(self, where: str, recorded: Reason | None, possible: set[Reason | None]) -> None:
        if recorded in possible:
            self.comparison.compared += 1
        else:
            expected = sorted(str(reason or "none") for reason in possible)
            raise DifferentError(Difference(where, recorded, " or ".join(expected)))

    # -- why a record may have been refused; None: it may not have been

    def _of_registration(self, record: Record) -> set[Reason | None]:
        return {self.registrations.refused.get((record.partition, record.offset))}

    def _of_report(self, record: Record) -> set[Reason | None]:
        where = (record.partition, record.offset)
        return self.reports.undecided.get(where) or {self.reports.refused.get(where)}

    def _of_heartbeat(self, record: Record) -> set[Reason | None]:
        sent = senders.sent(record, (Heartbeat,), self.log.partitions)
        if isinstance(sent, Reason):
            return {sent}
        content = self._content(sent, (Heartbeat,))
        return {content if refusal is None else refusal for refusal in self.registrations.refusals(sent)}

    def _of_request(self, record: Record) -> set[Reason | None]:
        types = (SynchronizationRequested,)
        if len(record.value or b"") > MAX_REQUEST_BYTES:
            return {Reason.TOO_LARGE}
        sent = senders.sent(record, types, self.log.partitions)
        if isinstance(sent, Reason):
            return {sent}
        content = self._content(sent, types, MAX_REQUEST_AGE_MS)
        if content is not None:
            return {content}
        # Whose key the phase knew of, and how many asked before, is a decision.
        by_operator = self.rules.operator_keys.get(sent.address[0]) == sent.key_id
        return {None, Reason.RATE_LIMITED} if by_operator else {None, Reason.RATE_LIMITED, *OF_A_KEY}

    def _of_acknowledgement(self, record: Record) -> set[Reason | None]:
        sent = senders.sent(record, (KnowledgeAcknowledged,), self.log.partitions)
        if isinstance(sent, Reason):
            return {sent}
        return {self._content(sent, (KnowledgeAcknowledged,)), *OF_A_KEY}

    def _content(
        self, sent: Sent, types: Sequence[type[Inbound]], max_behind_ms: int | None = None
    ) -> Reason | None:
        """Return why a record is refused that a right key has signed, or not."""
        return (
            senders.said(sent, types, self.rules, max_behind_ms).reason
            if sent.signed()
            else Reason.BAD_SIGNATURE
        )


def _singles(source: Source, written: Sequence[Letter]) -> dict[int, Letter]:
    """Return the letters that stand for one record, by its offset; raises DifferentError for two of one."""
    single: dict[int, Letter] = {}
    for letter in written:
        if letter.count == 1:
            if letter.first in single:
                where = f"{letter.stands}: the letter of {source[0]}/{source[1]}/{letter.first} stands twice"
                raise DifferentError(Difference(where, letter.reason, None))
            single[letter.first] = letter
    return single
