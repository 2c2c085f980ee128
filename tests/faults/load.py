"""What the federations send while everything breaks: good, bad, old and repeated, all from one seed.

Every instance holds some of its federation's patterns and reports them again and again, a little changed. Two
of a federation lie. Some patterns are held by many instances of few organisations: they may not be released.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from nacl.signing import SigningKey

from schemas.reasons import Reason
from schemas.reports import PatternReport
from schemas.signing import public_key
from tests.bad_input import drafts
from tests.bad_input.classes import ANY_JSON, OF_INSTANCES, RECORDS, REPORT_JSON, BadInput, of_json
from tests.deployments import Instance, key_of
from workers.fold import Record
from workers.runtime.port import Bus, BusError, Message, Producer, Sent

#: Their rounds are in different partitions, in different halves of six: each process of a phase has one.
FEDERATIONS = ("north", "south")

INSTANCES, ORGANISATIONS, PATTERNS = 12, 8, 200

#: The first so many patterns are common: six of ten instances hold one, of the others one of twenty.
COMMON = 30

#: The last so many patterns are held by the instances of the first organisations, and of no other.
CLANNISH, CLAN = 6, 3

#: Instances of a federation that claim one for everything.
LIARS = 2

#: Shares of the reports: bad ones of every class, old ones sent again, and the last one sent again.
BAD, REPLAYED, REPEATED = 0.03, 0.01, 0.01

#: Seconds between two heartbeats of an instance, two requests of a federation, two batches.
BEAT_S, REQUEST_S, BATCH_S = 5.0, 4.0, 0.05

#: A registration lists so many keys that an instance had; with the two that it has they are eight, the most.
MAX_REVOKED = 6

#: Classes of bad reports. One that is older than the last is stale before it is anything else.
OF_REPORTS: list[BadInput] = [
    *RECORDS,
    *(of_json(*one) for one in (*ANY_JSON, *REPORT_JSON)),
    *(one for one in OF_INSTANCES if one.reason is not Reason.TOO_OLD),
]

#: (topic, partition, offset).
Place = tuple[str, int, int]

#: What is wrong with a record, and its sender's public key.
Wrong = tuple[BadInput, str]


@dataclass
class Sender:
    """An instance as it sends: its sequences grow, its key may change."""

    instance: Instance
    held: Sequence[int]
    liar: bool
    enrolment: int = 1
    sequence: int = 0
    #: Reports that were sent, the last one last.
    past: deque[Record] = field(default_factory=lambda: deque(maxlen=20))
    #: Public keys that it had: every registration says of them that they are revoked.
    revoked: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_REVOKED))
    #: One change of keys at a time.
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def next_sequence(self) -> int:
        """Return the sequence of what is sent now."""
        self.sequence = max(self.sequence + 1, int(time.time() * 1000))
        return self.sequence


@dataclass(frozen=True)
class Expected:
    """A record that has to be refused, where it stands, and why."""

    place: Place
    reason: Reason
    what: str
    #: The public key of its sender when it was made.
    key: str


@dataclass
class Load:
    """Sends until it is told to end. ``rate``: reports a second, of all instances."""

    bus: Bus
    seed: str
    rate: float
    partitions: Mapping[str, int]
    #: Records acknowledged, by topic; and bad ones by the reason that they are to be refused for.
    sent: Counter[str] = field(default_factory=Counter)
    bad: Counter[Reason] = field(default_factory=Counter)
    #: Batches that had to be sent again, for nobody knew whether they had arrived.
    resent: int = 0
    #: Records that have to be refused; of what was sent twice the second is stale, so nothing is expected.
    expected: list[Expected] = field(default_factory=list)
    #: Public keys that were revoked. A report that was sent before is refused if it is judged after.
    revoked: set[str] = field(default_factory=set)
    #: Where every acknowledged record stands.
    places: list[Place] = field(default_factory=list)
    #: Unix time of each failure to send.
    failures_s: list[float] = field(default_factory=list)
    senders: dict[tuple[str, str], Sender] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)  # noqa: S311  (a seed, not a secret)
        self._classes = self._shuffled()
        self._producer: Producer | None = None
        self._sending = asyncio.Lock()
        for federation in FEDERATIONS:
            for number in range(INSTANCES):
                name, organisation = f"i{number:02}", f"org-{number % ORGANISATIONS}"
                instance = Instance(name, organisation, federation, partitions=self.partitions)
                held = [p for p in range(PATTERNS) if self._holds(p, number % ORGANISATIONS)]
                self.senders[federation, name] = Sender(instance, held, number >= INSTANCES - LIARS)

    def _holds(self, pattern: int, organisation: int) -> bool:
        if pattern >= PATTERNS - CLANNISH:
            return organisation < CLAN
        return self._random.random() < (0.6 if pattern < COMMON else 0.05)

    def _shuffled(self) -> Iterator[BadInput]:
        """Yield the classes of bad reports, all of them in each turn."""
        while True:
            classes = list(OF_REPORTS)
            self._random.shuffle(classes)
            yield from classes

    # -- sending

    async def _send(self, records: Sequence[Record], wrong: Mapping[int, Wrong] | None = None) -> None:
        """Send until it is acknowledged; ``wrong``: place in the batch -> what is wrong, and whose it is."""
        messages = [Message(one.topic, one.partition, one.key, one.value, one.headers) for one in records]
        async with self._sending:
            tries = 1
            while (sent := await self._try(messages)) is None:
                tries += 1
        self.resent += tries > 1
        self.sent.update(one.topic for one in sent)
        self.places += [(one.topic, one.partition, one.offset) for one in sent]
        for number, (bad, key) in (wrong or {}).items():
            self.bad[bad.reason] += 1
            if tries == 1:
                self.expected.append(Expected(self.places[number - len(sent)], bad.reason, bad.name, key))

    async def _try(self, messages: Sequence[Message]) -> list[Sent] | None:
        try:
            if self._producer is None:
                self._producer = await self.bus.producer()
            return await self._producer.send(messages)
        except BusError:
            self.failures_s.append(time.time())
            producer, self._producer = self._producer, None
            if producer is not None:
                await producer.close()
            await asyncio.sleep(BATCH_S)
            return None

    async def register(self) -> None:
        """Register all instances, signed by the operator."""
        await self._send([sender.instance.registered() for sender in self.senders.values()])

    async def run(self, until: asyncio.Event) -> None:
        """Report, beat and ask until told to end; then send one good report of each, and close."""
        ticks = [self._report(until), self._beat(until), self._ask(until)]
        await asyncio.gather(*ticks)
        await self._send([self._good(sender) for sender in self.senders.values()])
        if self._producer is not None:
            await self._producer.close()

    async def _report(self, until: asyncio.Event) -> None:
        turn, started, done = 0, time.monotonic(), 0
        everybody = list(self.senders.values())
        while not await _ended(until, BATCH_S):
            # What could not be sent in more than a second, while the broker was away, is not made up for.
            done = max(done, int((time.monotonic() - started - 1.0) * self.rate))
            due = int((time.monotonic() - started) * self.rate) - done
            batch: list[Record] = []
            wrong: dict[int, Wrong] = {}
            for _ in range(due):
                sender = everybody[turn % len(everybody)]
                record, bad = self._any(sender)
                if bad is not None:
                    wrong[len(batch)] = (bad, sender.instance.public_key)
                batch.append(record)
                turn += 1
            if batch:
                await self._send(batch, wrong)
            done += due

    def _any(self, sender: Sender) -> tuple[Record, BadInput | None]:
        dice = self._random.random()
        if dice < BAD:
            bad = next(self._classes)
            return bad.spoil(drafts.report(sender.instance, sender.next_sequence())), bad
        if dice < BAD + REPLAYED and len(sender.past) > 1:
            return self._random.choice(list(sender.past)[:-1]), None
        if dice < BAD + REPLAYED + REPEATED and sender.past:
            return sender.past[-1], None
        return self._good(sender), None

    def _good(self, sender: Sender) -> Record:
        sequence = sender.next_sequence()
        record = sender.instance.report([self._row(sender, pattern) for pattern in sender.held], sequence)
        sender.past.append(record)
        return record

    def _row(self, sender: Sender, pattern: int) -> dict[str, Any]:
        """Return what an instance holds of a pattern; one of twenty rows is too uncertain."""
        signature = f"{pattern * 0x9E3779B1 % 2**32:08x}{pattern:024x}"
        if sender.liar:
            one = {"strength": 1.0, "resonance": 1.0, "epistemic_certainty": 1.0, "frequency": 2**31 - 1}
            return {"signature_id": signature, "pattern_type": _type(pattern), **one}
        level, noise = 0.8 + 0.15 * (pattern % 7) / 7, self._random.random
        return {
            "signature_id": signature,
            "pattern_type": _type(pattern),
            "strength": round(level + 0.04 * noise(), 6),
            "resonance": round(level - 0.2 * noise(), 6),
            "epistemic_certainty": round(0.84 + 0.15 * noise(), 6),
            "frequency": 1 + int(1_000 * noise()),
        }

    async def _beat(self, until: asyncio.Event) -> None:
        while not await _ended(until, BEAT_S):
            await self._send([one.instance.beat(one.next_sequence()) for one in self.senders.values()])

    async def _ask(self, until: asyncio.Event) -> None:
        while not await _ended(until, REQUEST_S):
            await self._send([self._request(federation) for federation in FEDERATIONS])

    def _request(self, federation: str) -> Record:
        now_ms = int(time.time() * 1000)
        instance = self.senders[federation, "i00"].instance
        return drafts.command(instance, now_ms).record()

    # -- what others make it send

    async def acknowledge(self, federation: str, round_id: str) -> None:
        """Acknowledge the knowledge of a round in the name of every instance of the federation."""
        instances = [one.instance for (of, _), one in self.senders.items() if of == federation]
        now_ms = int(time.time() * 1000)
        await self._send(
            [drafts.acknowledgement(instance, now_ms).record(round_id=round_id) for instance in instances]
        )

    async def change_key(self, federation: str, name: str, overlap_s: float) -> Place:
        """Give an instance a second key and use it at once; a while later revoke the first one, and use it.

        Returns where that last record stands.
        """
        sender = self.senders[federation, name]
        async with sender.changing:
            before = sender.instance.signing_key
            after = key_of(f"{federation}/{name}/{sender.enrolment}")
            await self._enrol(sender, before, after)
            sender.instance.key = after
            await self._send([self._good(sender)])
            await asyncio.sleep(overlap_s)
            self.revoked.add(public_key(before))
            sender.revoked.append(public_key(before))
            await self._enrol(sender, after)
            record = drafts.report(sender.instance, sender.next_sequence()).record(by=before)
            bad = BadInput("a revoked key", lambda _: record, Reason.REVOKED_KEY)
            await self._send([record], {0: (bad, public_key(before))})
            return self._last(PatternReport.topic, record.partition)

    async def _enrol(self, sender: Sender, *valid: SigningKey) -> None:
        sender.enrolment += 1
        keys: list[Mapping[str, Any]] = [{"key": public_key(key)} for key in valid]
        keys += [{"key": key, "revoked": True} for key in sender.revoked]
        await self._send([sender.instance.registered(sender.enrolment, public_keys=keys)])

    def _last(self, topic: str, partition: int) -> Place:
        return next(place for place in reversed(self.places) if place[:2] == (topic, partition))


def _type(pattern: int) -> str:
    return ("latency", "usage", "failure")[pattern % 3]


async def _ended(event: asyncio.Event, seconds: float) -> bool:
    """Wait so long; True as soon as the event is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()
