"""Redriving: a refused record is read again where it stands and sent again, byte for byte.

Dead letters hold no payload, so the original must still be on the log. Its signature stays, so who sent it is
judged as before; its sequence is still the sending time, so it cannot be redriven for ever; and by its
identity it is taken once however often it is sent. It goes to the partition that its key hashes to.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from convergence.dead_letters import Letter, Query
from convergence.topics import partition_counts
from schemas.commands import SynchronizationRequested
from schemas.event import MAX_RECORD_BYTES
from schemas.instances import InstanceRegistered
from schemas.partitioning import key_partition
from schemas.reasons import Reason
from schemas.reports import PatternReport
from workers.dead_letters import REDRIVEN_FROM, REDRIVES, redriven
from workers.fold import Record
from workers.runtime.port import Bus, Corrupt, Message, Reader, TopicPartition

#: A record is redriven so often.
MAX_REDRIVES = 3

#: Records a second unless it is said otherwise: what one instance alone may report.
RECORDS_A_SECOND = 20.0

#: What may be sent again. A heartbeat and an acknowledgement speak of a moment that has passed, and all other
#: topics are written by workers.
REDRIVABLE = (InstanceRegistered.topic, PatternReport.topic, SynchronizationRequested.topic)

#: What is read at once: at 1 MiB a record, so many MiB.
_READ_RECORDS = 50
_READ_S = 5.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """What becomes of one refused record: ``message`` is sent, or ``skipped`` says why not."""

    letter: Letter
    source: str
    message: Message | None = None
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Which letters a redrive answers."""

    letters: tuple[Letter, ...]
    #: Records that have a letter of their own, in a plan or not: no capped letter answers for them.
    own: frozenset[str]


def plan(letters: Sequence[Letter], query: Query) -> Plan:
    """Choose from all letters; of a record that was redriven and refused again only the last one."""
    last: dict[tuple[str, str, str], Letter] = {}
    for letter in letters:
        # By the digest too: where a record comes from anybody can claim, of other bytes in vain.
        of = (letter.origin, letter.said.stage, letter.said.digest)
        if of not in last or letter.said.redrives >= last[of].said.redrives:
            last[of] = letter
    chosen = tuple(letter for letter in last.values() if query.admits(letter))
    return Plan(chosen, frozenset(letter.source for letter in letters if letter.said.count == 1))


async def attempts(bus: Bus, planned: Plan) -> AsyncIterator[Attempt]:
    """Yield what a redrive does, record by record; nothing is sent.

    A capped letter stands for a range of offsets: all of it is sent again but what has a letter of its own.
    What was accepted in between is a duplicate then.
    """
    partitions = await partition_counts(bus, REDRIVABLE)
    wanted: defaultdict[TopicPartition, dict[int, Letter]] = defaultdict(dict)
    for letter in planned.letters:
        if (why := _never(letter)) is not None:
            yield Attempt(letter, letter.source, skipped=why)
            continue
        said = letter.said
        at = TopicPartition(said.source_topic, said.source_partition)
        for offset in range(said.source_offset, said.last_offset + 1):
            if said.count == 1 or _place(at, offset) not in planned.own:
                wanted[at][offset] = letter
    for at, offsets in wanted.items():
        async for offset, record in _originals(bus, at, sorted(offsets)):
            letter, source = offsets[offset], _place(at, offset)
            why = _not_now(letter, record)
            if record is None or why is not None:
                yield Attempt(letter, source, skipped=why)
            else:
                yield Attempt(letter, source, _again(record, source, partitions))


async def redrive(
    bus: Bus,
    planned: Plan,
    records_a_second: float = RECORDS_A_SECOND,
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Attempt]:
    """Send again what can be, at most so fast; yields every attempt when it is made."""
    producer = await bus.producer()
    try:
        async for attempt in attempts(bus, planned):
            if attempt.message is not None:
                await producer.send([attempt.message])
                await wait(1 / records_a_second)
            yield attempt
    finally:
        await producer.close()


def _place(at: TopicPartition, offset: int) -> str:
    return f"{at.topic}/{at.partition}/{offset}"


def _never(letter: Letter) -> str | None:
    """Return why the records of a letter are not even read again, or None."""
    if letter.said.reason is Reason.CORRUPT_BATCH:  # … of which one letter may count millions
        return "what cannot be decoded is not sent again"
    topic = letter.said.source_topic
    return None if topic in REDRIVABLE else f"what is on {topic} is not sent again"


def _not_now(letter: Letter, record: Record | None) -> str | None:
    """Return why a record is not sent again, or None."""
    if record is None:
        return "the record is gone from the log, or cannot be decoded"
    if record.value is None or any(content is None for _, content in record.headers):
        return "the record has no value, or a header without one"
    if len(record.value) > MAX_RECORD_BYTES:
        return "the record is too large"
    said = letter.said
    if said.count == 1 and (record.append_ms, len(record.value)) != (said.append_ms, said.length):
        return "another record stands there by now"
    _, redrives = redriven(record) or ("", 0)
    return None if redrives < MAX_REDRIVES else f"redriven {redrives} times already"


def _again(record: Record, source: str, partitions: Mapping[str, int]) -> Message:
    key = (record.key or b"").decode("utf-8", "replace")
    origin, redrives = redriven(record) or (source, 0)
    headers = [pair for pair in record.headers if pair[0] not in {REDRIVEN_FROM, REDRIVES}]
    headers.append((REDRIVEN_FROM, origin.encode()))
    headers.append((REDRIVES, b"%d" % (redrives + 1)))
    # The keys of all that can be redriven are hashed whole.
    partition = key_partition(key, partitions[record.topic])
    return Message(record.topic, partition, record.key, record.value, tuple(headers))


async def _originals(
    bus: Bus, at: TopicPartition, offsets: Collection[int]
) -> AsyncIterator[tuple[int, Record | None]]:
    """Yield the records at ascending offsets; None for what is not there or not to be decoded."""
    start = (await bus.beginning_offsets([at]))[at]
    end = (await bus.end_offsets([at]))[at]
    reader = await bus.reader({at: start})
    held: dict[int, Record] = {}
    try:
        for offset in offsets:
            if start <= offset < end and offset > max(held, default=-1):
                reader.seek(at, offset)
                held = {record.offset: record for record in await _read(reader)}
            yield offset, held.get(offset)
    finally:
        await reader.close()


async def _read(reader: Reader) -> list[Record]:
    try:
        return await reader.poll(_READ_S, _READ_RECORDS)
    except Corrupt:
        return []
