"""What every adapter of the bus does: one suite, run against the memory and against a real Kafka.

A module that subclasses ``BusContract`` provides the fixture ``bus``.
"""

import asyncio
import uuid
from collections.abc import Callable, Collection, Mapping

import pytest

from schemas.topics import APPEND_TIME, TIMESTAMP_TYPE
from workers.fold import Record
from workers.runtime.clock import unix_ms
from workers.runtime.port import (
    Bus,
    BusError,
    Consumer,
    Fenced,
    GroupDescription,
    Message,
    OffsetLost,
    Reader,
    Rebalanced,
    TopicDescription,
    TopicPartition,
)

#: Seconds that anything may take that is bound to happen.
DEADLINE_S = 30.0

_TIMEOUT_MS = 10_000
_BEGINNING, _END = -2, -1


async def new_topic(bus: Bus, partitions: int = 2, **configs: str) -> str:
    """Create a topic that no other test has; ``_`` in a config's name stands for a dot."""
    name = f"contract.{uuid.uuid4().hex}"
    named = {key.replace("_", "."): value for key, value in configs.items()}
    await bus.create([TopicDescription(name, partitions, 1, {TIMESTAMP_TYPE: APPEND_TIME, **named})])
    return name


def unique(kind: str) -> str:
    """Return a name that no other test has."""
    return f"{kind}.{uuid.uuid4().hex}"


def message(topic: str, value: bytes, partition: int = 0) -> Message:
    """Return a message with the least in it."""
    return Message(topic, partition, b"key", value)


async def read(reader: Reader, count: int) -> list[Record]:
    """Poll until ``count`` records are there; fails after the deadline."""
    records: list[Record] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(records) < count:
            records += await reader.poll(0.2)
    return records


async def values(bus: Bus, topic: str, partition: int = 0) -> list[bytes | None]:
    """Return the values that a read_committed reader finds up to the committed end."""
    where = TopicPartition(topic, partition)
    end = (await bus.end_offsets([where]))[where]
    reader = await bus.reader({where: _BEGINNING})
    found: list[bytes | None] = []
    async with asyncio.timeout(DEADLINE_S):
        while reader.position(where) < end:
            found += [record.value for record in await reader.poll(0.2)]
    await reader.close()
    return found


class Member:
    """A member of a group that notes what its callbacks were told."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.consumer: Consumer
        self.assigned: list[set[TopicPartition]] = []
        self.revoked: list[set[TopicPartition]] = []

    async def join(self, group: str, *topics: str) -> "Member":
        """Become a member."""
        self.consumer = await self._bus.consumer(
            group, topics, assigned=self._note(self.assigned), revoked=self._note(self.revoked)
        )
        return self

    @staticmethod
    def _note(into: list[set[TopicPartition]]) -> Rebalanced:
        async def note(partitions: Collection[TopicPartition]) -> None:
            into.append(set(partitions))

        return note

    def owned(self) -> set[TopicPartition]:
        """Return what was last assigned."""
        return self.assigned[-1] if self.assigned else set()

    def start(self, positions: Mapping[TopicPartition, int]) -> None:
        """Seek and resume, as the runtime does once a partition is restored."""
        for where, offset in positions.items():
            self.consumer.seek(where, offset)
        self.consumer.resume(*positions)


async def until(condition: Callable[[], bool], *members: Member) -> dict[TopicPartition, list[Record]]:
    """Poll the members until the condition holds; fails after the deadline. Returns what they were given."""
    received: dict[TopicPartition, list[Record]] = {}
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            for member in members:
                for where, records in (await member.consumer.poll(0.1)).items():
                    received.setdefault(where, []).extend(records)
    return received


async def receive(member: Member, where: TopicPartition, count: int) -> list[Record]:
    """Poll until ``count`` records of the partition are there."""
    records: list[Record] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(records) < count:
            records += (await member.consumer.poll(0.2)).get(where, [])
    return records


def every(partitions: int, *topics: str) -> set[TopicPartition]:
    """Return all partitions of the topics."""
    return {TopicPartition(topic, number) for topic in topics for number in range(partitions)}


class BusContract:
    """The suite; needs the fixture ``bus``."""

    async def test_a_record_arrives_as_it_was_sent_where_the_acknowledgement_says(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        producer = await bus.producer()
        headers = (("ce_id", b"1"), ("empty", b""))

        sent = await producer.send(
            [Message(topic, 1, b"key", b"one", headers), Message(topic, 1, None, b"two")]
        )

        reader = await bus.reader({TopicPartition(topic, 1): _BEGINNING})
        assert await read(reader, 2) == [
            Record(topic, 1, sent[0].offset, sent[0].append_ms, b"key", b"one", headers),
            Record(topic, 1, sent[1].offset, sent[1].append_ms, None, b"two"),
        ]
        assert [one.offset for one in sent] == [0, 1]
        assert 0 < sent[0].append_ms <= sent[1].append_ms

    async def test_a_tombstone_has_no_value(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        await (await bus.producer()).send([Message(topic, 0, b"key", None)])

        assert await values(bus, topic) == [None]

    async def test_acknowledgements_come_in_the_order_of_the_messages(self, bus: Bus) -> None:
        topic = await new_topic(bus, partitions=3)
        producer = await bus.producer()

        sent = await producer.send([message(topic, b"", partition) for partition in (2, 0, 1, 0)])

        assert [(one.partition, one.offset) for one in sent] == [(2, 0), (0, 0), (1, 0), (0, 1)]

    async def test_a_committed_transaction_is_visible_in_all_its_partitions(self, bus: Bus) -> None:
        one, two = await new_topic(bus), await new_topic(bus)
        producer = await bus.transactional_producer(unique("id"), _TIMEOUT_MS)

        await producer.transact([message(one, b"a"), message(two, b"b", 1), message(one, b"c")])
        await producer.transact([message(one, b"d")])

        assert await values(bus, one) == [b"a", b"c", b"d"]
        assert await values(bus, two, 1) == [b"b"]

    async def test_a_transaction_says_where_its_messages_landed(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        where = TopicPartition(topic, 0)
        producer = await bus.transactional_producer(unique("id"), _TIMEOUT_MS)
        await producer.transact([message(topic, b"before")])

        (sent,) = await producer.transact([message(topic, b"this")])

        reader = await bus.reader({where: sent.offset})
        (record,) = await read(reader, 1)
        assert (record.value, record.offset, record.append_ms) == (b"this", sent.offset, sent.append_ms)

    async def test_an_empty_transaction_leaves_no_trace(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        where = TopicPartition(topic, 0)
        producer = await bus.transactional_producer(unique("id"), _TIMEOUT_MS)

        assert await producer.transact([]) == []

        assert await bus.end_offsets([where], committed=False) == {where: 0}

    async def test_a_successor_with_the_same_id_fences_its_predecessor(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        identity = unique("id")
        zombie = await bus.transactional_producer(identity, _TIMEOUT_MS)
        await zombie.transact([message(topic, b"mine")])

        owner = await bus.transactional_producer(identity, _TIMEOUT_MS)

        with pytest.raises(Fenced):
            await zombie.transact([message(topic, b"of a zombie")])
        await owner.transact([message(topic, b"of the owner")])
        assert await values(bus, topic) == [b"mine", b"of the owner"]

    async def test_a_transaction_that_failed_is_never_seen(self, bus: Bus) -> None:
        topic = await new_topic(bus, partitions=1)
        where = TopicPartition(topic, 0)
        identity = unique("id")
        failing = await bus.transactional_producer(identity, _TIMEOUT_MS)

        with pytest.raises(BusError):
            await failing.transact([message(topic, b"half"), message(topic, b"no such partition", 7)])

        assert await bus.end_offsets([where]) == {where: 0}
        successor = await bus.transactional_producer(identity, _TIMEOUT_MS)
        await successor.transact([message(topic, b"whole")])
        assert await values(bus, topic) == [b"whole"]

    async def test_a_producer_that_failed_stays_dead(self, bus: Bus) -> None:
        topic = await new_topic(bus, partitions=1)
        failing = await bus.transactional_producer(unique("id"), _TIMEOUT_MS)
        with pytest.raises(BusError):
            await failing.transact([message(topic, b"no such partition", 7)])

        with pytest.raises(BusError):
            await failing.transact([message(topic, b"afterwards")])

        assert await bus.end_offsets([TopicPartition(topic, 0)]) == {TopicPartition(topic, 0): 0}

    async def test_a_starting_producer_ends_what_its_predecessor_left_open(self, bus: Bus) -> None:
        topic = await new_topic(bus, partitions=1)
        where = TopicPartition(topic, 0)
        identity = unique("id")
        failing = await bus.transactional_producer(identity, _TIMEOUT_MS)
        with pytest.raises(BusError):
            await failing.transact([message(topic, b"half"), message(topic, b"no such partition", 7)])

        await bus.transactional_producer(identity, _TIMEOUT_MS)

        assert await bus.end_offsets([where]) == await bus.end_offsets([where], committed=False)

    async def test_a_reader_gets_behind_what_is_invisible(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        where = TopicPartition(topic, 0)
        producer = await bus.transactional_producer(unique("id"), _TIMEOUT_MS)
        await producer.transact([message(topic, b"one")])
        await producer.transact([message(topic, b"two")])
        end = (await bus.end_offsets([where]))[where]
        reader = await bus.reader({where: _BEGINNING})

        await read(reader, 2)

        async with asyncio.timeout(DEADLINE_S):
            while reader.position(where) < end:
                assert await reader.poll(0.2) == []
        assert reader.position(where) == end

    async def test_a_reader_starts_where_it_is_told(self, bus: Bus) -> None:
        topic = await new_topic(bus, partitions=3)
        producer = await bus.producer()
        await producer.send([message(topic, b"%d" % n, p) for p in range(3) for n in range(3)])

        reader = await bus.reader(
            {
                TopicPartition(topic, 0): _BEGINNING,
                TopicPartition(topic, 1): 2,
                TopicPartition(topic, 2): _END,
            }
        )
        await producer.send([message(topic, b"new", 2)])

        found = {(record.partition, record.value) for record in await read(reader, 5)}
        assert found == {(0, b"0"), (0, b"1"), (0, b"2"), (1, b"2"), (2, b"new")}

    async def test_a_reader_knows_its_position_before_it_has_read(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        await (await bus.producer()).send([message(topic, b""), message(topic, b"")])
        first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)

        reader = await bus.reader({first: _END, second: _BEGINNING})

        assert (reader.position(first), reader.position(second)) == (2, 0)

    async def test_a_reader_goes_back(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        where = TopicPartition(topic, 0)
        await (await bus.producer()).send([message(topic, b"one"), message(topic, b"two")])
        reader = await bus.reader({where: _BEGINNING})
        await read(reader, 2)

        reader.seek(where, 1)

        assert reader.position(where) == 1
        assert [record.value for record in await read(reader, 1)] == [b"two"]

    async def test_a_poll_hands_out_no_more_than_it_is_asked_for(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        where = TopicPartition(topic, 0)
        await (await bus.producer()).send([message(topic, b"%d" % n) for n in range(5)])
        reader = await bus.reader({where: _BEGINNING})

        async with asyncio.timeout(DEADLINE_S):
            while not (records := await reader.poll(0.2, max_records=2)):
                pass

        assert [record.value for record in records] == [b"0", b"1"]
        assert reader.position(where) == 2

    async def test_a_poll_of_nothing_returns_in_time(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        reader = await bus.reader({TopicPartition(topic, 0): _BEGINNING})

        async with asyncio.timeout(DEADLINE_S):
            assert await reader.poll(0.05) == []

    async def test_a_position_that_is_not_on_the_bus_is_lost(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        reader = await bus.reader({TopicPartition(topic, 0): 1_000})

        with pytest.raises(OffsetLost):
            await read(reader, 1)

    async def test_offsets_begin_at_zero_and_end_behind_the_last_record(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
        await (await bus.producer()).send([message(topic, b""), message(topic, b"")])

        assert await bus.beginning_offsets([first, second]) == {first: 0, second: 0}
        assert await bus.end_offsets([first, second]) == {first: 2, second: 0}
        assert await bus.end_offsets([first, second], committed=False) == {first: 2, second: 0}

    async def test_a_lone_member_owns_every_partition(self, bus: Bus) -> None:
        one, two = await new_topic(bus), await new_topic(bus)
        member = await Member(bus).join(unique("group"), one, two)

        await until(lambda: bool(member.owned()), member)

        assert member.owned() == every(2, one, two)

    async def test_an_assigned_partition_is_paused_until_it_is_resumed(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
        await (await bus.producer()).send([message(topic, b"a", 0), message(topic, b"b", 1)])
        member = await Member(bus).join(unique("group"), topic)
        given = await until(lambda: bool(member.owned()), member)

        member.start({first: 0})

        assert given == {}
        assert [record.value for record in await receive(member, first, 1)] == [b"a"]
        member.start({second: 0})
        assert [record.value for record in await receive(member, second, 1)] == [b"b"]

    async def test_a_member_reads_from_where_it_seeks_whatever_was_committed(self, bus: Bus) -> None:
        topic = await new_topic(bus, partitions=1)
        where = TopicPartition(topic, 0)
        group = unique("group")
        await (await bus.producer()).send([message(topic, b"%d" % n) for n in range(4)])
        member = await Member(bus).join(group, topic)
        await until(lambda: bool(member.owned()), member)
        await member.consumer.commit({where: 4})
        await member.consumer.close()

        heir = await Member(bus).join(group, topic)
        await until(lambda: bool(heir.owned()), heir)
        heir.start({where: 2})

        assert heir.consumer.position(where) == 2
        assert [record.value for record in await receive(heir, where, 2)] == [b"2", b"3"]
        assert heir.consumer.position(where) == 4

    async def test_a_paused_partition_gives_nothing_and_keeps_its_place(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
        producer = await bus.producer()
        member = await Member(bus).join(unique("group"), topic)
        await until(lambda: bool(member.owned()), member)
        member.start({first: 0, second: 0})

        member.consumer.pause(first)
        await producer.send([message(topic, b"held", 0)])
        await producer.send([message(topic, b"passes", 1)])

        received: dict[TopicPartition, list[Record]] = {}
        async with asyncio.timeout(DEADLINE_S):
            while second not in received:
                received |= await member.consumer.poll(0.2)
        assert first not in received
        member.consumer.resume(first)
        assert [record.value for record in await receive(member, first, 1)] == [b"held"]

    async def test_a_member_sees_no_transaction_that_failed(self, bus: Bus) -> None:
        topic = await new_topic(bus, partitions=1)
        where = TopicPartition(topic, 0)
        identity = unique("id")
        failing = await bus.transactional_producer(identity, _TIMEOUT_MS)
        with pytest.raises(BusError):
            await failing.transact([message(topic, b"half"), message(topic, b"no such partition", 7)])
        successor = await bus.transactional_producer(identity, _TIMEOUT_MS)
        await successor.transact([message(topic, b"whole")])
        member = await Member(bus).join(unique("group"), topic)
        await until(lambda: bool(member.owned()), member)

        member.start({where: 0})

        assert [record.value for record in await receive(member, where, 1)] == [b"whole"]

    async def test_partitions_with_the_same_number_go_to_the_same_member(self, bus: Bus) -> None:
        one, two = await new_topic(bus, partitions=4), await new_topic(bus, partitions=4)
        group = unique("group")
        first = await Member(bus).join(group, one, two)
        await until(lambda: bool(first.owned()), first)

        second = await Member(bus).join(group, one, two)
        await until(lambda: len(first.owned()) == 4 and len(second.owned()) == 4, first, second)

        assert first.owned() | second.owned() == every(4, one, two)
        for member in (first, second):
            assert {(where.topic, where.partition) for where in member.owned()} == {
                (topic, where.partition) for where in member.owned() for topic in (one, two)
            }

    async def test_who_shares_is_told_first_what_goes_and_then_what_stays(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        group = unique("group")
        first = await Member(bus).join(group, topic)
        await until(lambda: bool(first.owned()), first)

        second = await Member(bus).join(group, topic)
        await until(lambda: len(first.owned()) == 1 and len(second.owned()) == 1, first, second)

        assert every(2, topic) in first.revoked

    async def test_what_was_resumed_is_paused_again_after_a_rebalance(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        group = unique("group")
        await (await bus.producer()).send([message(topic, b"a", 0), message(topic, b"b", 1)])
        first = await Member(bus).join(group, topic)
        await until(lambda: bool(first.owned()), first)
        first.start(dict.fromkeys(first.owned(), 1))

        second = await Member(bus).join(group, topic)
        await until(lambda: len(first.owned()) == 1 and len(second.owned()) == 1, first, second)
        (kept,) = first.owned()
        await (await bus.producer()).send([message(topic, b"afterwards", kept.partition)])
        reader = await bus.reader({kept: 1})
        await read(reader, 1)

        assert await first.consumer.poll(0.5) == {}
        first.start({kept: 1})
        assert [record.value for record in await receive(first, kept, 1)] == [b"afterwards"]

    async def test_who_stays_takes_over_from_who_leaves(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        group = unique("group")
        first = await Member(bus).join(group, topic)
        second = await Member(bus).join(group, topic)
        await until(lambda: len(first.owned()) == 1 and len(second.owned()) == 1, first, second)

        await second.consumer.close()
        await until(lambda: len(first.owned()) == 2, first)

        assert first.owned() == every(2, topic)

    async def test_a_group_shows_what_its_members_own_and_what_was_committed_when(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        group = unique("group")
        assert await bus.group(group) == GroupDescription({}, {})
        before_ms = unix_ms()
        member = await Member(bus).join(group, topic)
        await until(lambda: bool(member.owned()), member)
        where = TopicPartition(topic, 1)
        await member.consumer.commit({where: 4})
        described = await bus.group(group)
        assert list(described.members.values()) == [{TopicPartition(topic, 0), where}]
        assert described.commits.keys() == {where}
        assert described.commits[where].offset == 4
        assert before_ms <= (described.commits[where].at_ms or 0) <= unix_ms()
        await member.consumer.close()

    async def test_an_offset_is_found_by_its_time(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        where, empty = TopicPartition(topic, 0), TopicPartition(topic, 1)
        sent = await (await bus.producer()).send([message(topic, b"1"), message(topic, b"2")])
        found = await bus.offsets_at([where, empty], sent[0].append_ms)
        assert found == {where: 0, empty: 0}
        assert await bus.offsets_at([where], sent[1].append_ms + 1_000) == {where: 2}

    async def test_a_topic_is_described_with_the_configs_in_effect(self, bus: Bus) -> None:
        topic = await new_topic(bus, partitions=3, retention_ms="86400000")

        described = await bus.describe([topic, "no.such.topic"])

        assert described.keys() == {topic}
        assert (described[topic].partitions, described[topic].replication) == (3, 1)
        assert described[topic].configs["retention.ms"] == "86400000"
        assert described[topic].configs[TIMESTAMP_TYPE] == APPEND_TIME
        assert described[topic].configs["cleanup.policy"] == "delete"

    async def test_creating_a_topic_again_changes_nothing(self, bus: Bus) -> None:
        topic = await new_topic(bus, partitions=2)
        before = await bus.describe([topic])

        await bus.create([TopicDescription(topic, 5, 1, {"cleanup.policy": "compact"})])

        assert await bus.describe([topic]) == before

    async def test_configuring_keeps_what_else_was_set(self, bus: Bus) -> None:
        topic = await new_topic(bus, retention_ms="86400000")

        await bus.configure(topic, {"cleanup.policy": "compact"})

        async with asyncio.timeout(DEADLINE_S):
            while (configs := (await bus.describe([topic]))[topic].configs)["cleanup.policy"] != "compact":
                pass
        assert configs[TIMESTAMP_TYPE] == APPEND_TIME
        assert configs["retention.ms"] == "86400000"

    async def test_closing_twice_is_closing(self, bus: Bus) -> None:
        topic = await new_topic(bus)
        producer = await bus.producer()
        reader = await bus.reader({TopicPartition(topic, 0): _BEGINNING})
        member = await Member(bus).join(unique("group"), topic)

        async with asyncio.timeout(DEADLINE_S):
            for closing in (producer, reader, member.consumer, bus, producer, reader, member.consumer, bus):
                await closing.close()
