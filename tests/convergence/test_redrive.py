"""The way back of a refused record: sent again byte for byte, and taken once if it is acceptable by now."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from convergence.dead_letters import Letter, Query, list_letters
from convergence.redrive import MAX_REDRIVES, Attempt, attempts, plan, redrive
from schemas.dead_letters import DeadLetter
from schemas.reasons import Reason
from schemas.reports import Admission, PatternReport
from schemas.topics import load
from tests.deployments import Instance, settings
from tests.runtime.toys import MovableClock, until
from workers.dead_letters import REDRIVEN_FROM, REDRIVES
from workers.fold import Record
from workers.privacy import Privacy
from workers.runtime import topology
from workers.runtime.memory import Log, MemoryBus
from workers.runtime.port import Message, TopicPartition
from workers.runtime.supervisor import Process

PARTITIONS = {name: topic.partitions for name, topic in load().declared.items()}


class Bench:
    """A bus with a privacy worker, on which reports are refused and sent again."""

    def __init__(self) -> None:
        self.clock = MovableClock()
        self.bus = MemoryBus(Log(self.clock.now_ms))
        self.alpha = Instance(partitions=PARTITIONS)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        topics = load()
        changelog = topics.changelog(Privacy.name, Privacy.inputs)
        await topology.apply(self.bus, topology.plan([*topics.declared.values(), changelog], {}))
        limits = settings(max_reports_a_minute=2)
        async with Process(self.bus, [Privacy], limits, topics=topics, clock=self.clock) as process:
            await until(lambda: process.ready)
            yield

    def send(self, record: Record, partition: int | None = None) -> str:
        """Append a record and return where it stands."""
        at = record.partition if partition is None else partition
        sent = self.bus.log.append(Message(record.topic, at, record.key, record.value, record.headers))
        return f"{sent.topic}/{sent.partition}/{sent.offset}"

    def report(self) -> Record:
        return self.alpha.report(2, at_ms=self.clock.now_ms())

    def records(self, topic: str) -> list[Record]:
        log = self.bus.log
        found = [log.records(TopicPartition(topic, number)) for number in range(PARTITIONS[topic])]
        return [record for records in found for record in records]

    def outcomes(self) -> list[str]:
        """Return what became of the authenticated reports; all are of one partition."""
        found = self.records(Admission.topic)
        return [Admission.model_validate_json(record.value or b"").outcome for record in found]

    async def letters(self, count: int) -> list[Letter]:
        """Wait for so many letters."""
        await until(lambda: len(self.records(DeadLetter.topic)) >= count)
        return await list_letters(self.bus)

    async def redriven(self, query: Query | None = None) -> list[Attempt]:
        """Redrive without any wait."""
        planned = plan(await list_letters(self.bus), query or Query())
        return [attempt async for attempt in redrive(self.bus, planned, wait=lambda _: asyncio.sleep(0))]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    async with bench.running():
        yield bench


async def test_a_report_from_before_its_registration_is_admitted_once(bench: Bench) -> None:
    source = bench.send(bench.report())
    (letter,) = await bench.letters(1)
    assert (letter.said.reason, letter.source) == (Reason.UNKNOWN_INSTANCE, source)
    bench.send(bench.alpha.registered())

    for _ in range(2):
        (attempt,) = await bench.redriven()
        assert attempt.skipped is None

    await until(lambda: len(bench.outcomes()) == 2)
    assert bench.outcomes() == ["admitted", "duplicate"]
    original, first, second = bench.records(PatternReport.topic)
    assert (first.key, first.value) == (original.key, original.value)
    assert dict(first.headers) == {
        **dict(original.headers),
        REDRIVEN_FROM: source.encode(),
        REDRIVES: b"1",
    }
    assert first.headers == second.headers


async def test_a_report_above_the_pace_is_admitted_once_when_there_is_room(bench: Bench) -> None:
    bench.send(bench.alpha.registered())
    now_ms = bench.clock.now_ms()
    reports = [bench.alpha.report(1, now_ms, now_ms + number) for number in range(3)]
    for report in reports:
        bench.send(report)
    await bench.letters(1)
    bench.clock.advance(60)

    for _ in range(2):
        await bench.redriven()

    await until(lambda: len(bench.outcomes()) == 5)
    assert bench.outcomes() == ["admitted", "admitted", "refused:rate_limited", "admitted", "duplicate"]


async def test_a_record_in_a_wrong_partition_goes_to_the_right_one(bench: Bench) -> None:
    bench.send(bench.alpha.registered())
    report = bench.report()
    bench.send(report, partition=(report.partition + 1) % PARTITIONS[PatternReport.topic])
    (letter,) = await bench.letters(1)
    assert letter.said.reason is Reason.WRONG_PARTITION

    await bench.redriven()

    await until(lambda: bench.outcomes() == ["admitted"])


async def test_what_is_refused_again_and_again_is_redriven_three_times(bench: Bench) -> None:
    source = bench.send(bench.report())
    for number in range(MAX_REDRIVES):
        letters = await bench.letters(number + 1)
        assert letters[-1].origin == source
        (attempt,) = await bench.redriven()
        assert attempt.letter.said.redrives == number

    await bench.letters(MAX_REDRIVES + 1)
    (attempt,) = await bench.redriven()
    assert attempt.skipped == "redriven 3 times already"
    assert len(bench.records(PatternReport.topic)) == 1 + MAX_REDRIVES


async def test_a_letter_finds_only_the_record_that_it_was_written_for(bench: Bench) -> None:
    bench.send(bench.report())
    (letter,) = await bench.letters(1)
    other = replace(letter, said=letter.said.model_copy(update={"length": letter.said.length + 1}))
    gone = replace(letter, said=letter.said.model_copy(update={"source_offset": 9, "last_offset": 9}))

    tried = [attempt async for attempt in attempts(bench.bus, plan([other, gone], Query()))]

    assert [attempt.skipped for attempt in tried] == [
        "another record stands there by now",
        "the record is gone from the log, or cannot be decoded",
    ]


async def test_a_capped_letter_answers_for_its_range_but_for_what_has_a_letter_of_its_own(
    bench: Bench,
) -> None:
    sources = [bench.send(bench.report()) for _ in range(4)]
    letters = await bench.letters(4)
    capped = {"source_offset": 0, "last_offset": 3, "count": 3, "digest": ""}
    own = letters[1]
    asked = plan([own, replace(own, said=own.said.model_copy(update=capped))], Query())

    tried = [attempt async for attempt in attempts(bench.bus, asked)]

    assert sorted(attempt.source for attempt in tried) == sorted(sources)
    assert [attempt.source for attempt in tried if attempt.letter == own] == [own.source]


async def test_a_redrive_keeps_its_pace(bench: Bench) -> None:
    for _ in range(3):
        bench.send(bench.report())
    planned = plan(await bench.letters(3), Query())
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    assert len([attempt async for attempt in redrive(bench.bus, planned, 50, wait)]) == 3
    assert waits == [0.02] * 3


def letter(offset: int = 0, **changes: object) -> Letter:
    said = DeadLetter(
        federation="default",
        reason=Reason.UNKNOWN_KEY,
        stage="privacy",
        source_topic="flc.reports.v1",
        source_partition=0,
        source_offset=offset,
        last_offset=offset,
        length=1,
        digest="",
        append_ms=1,
        version="1",
    )
    return Letter(said.model_copy(update=changes), written_ms=offset)


def test_of_a_record_that_was_redriven_only_the_last_letter_is_answered() -> None:
    again = letter(5, redriven_from="flc.reports.v1/0/0", redrives=1)
    assert plan([letter(), letter(1), again], Query()).letters == (again, letter(1))
    assert plan([letter(), again], Query(source="flc.reports.v1/0/0")).letters == (again,)


def test_nobody_hides_a_letter_behind_other_bytes_that_claim_to_be_its_record() -> None:
    claimed = letter(5, redriven_from="flc.reports.v1/0/0", redrives=99, digest="other")
    assert plan([letter(), claimed], Query()).letters == (letter(), claimed)


@pytest.mark.parametrize(
    ("query", "offsets"),
    [
        (Query(), [0, 1, 2, 3]),
        (Query(reason=Reason.BAD_JSON), [1]),
        (Query(topic="flc.commands.v1"), [2]),
        (Query(federation="default"), [0, 1, 2]),
        (Query(since_ms=2), [2, 3]),
        (Query(source="flc.reports.v1/0/3"), [3]),
    ],
)
def test_letters_are_chosen_by_what_is_asked(query: Query, offsets: list[int]) -> None:
    letters = [
        letter(0),
        letter(1, reason=Reason.BAD_JSON),
        letter(2, source_topic="flc.commands.v1"),
        letter(3, federation=None),
    ]
    assert [each.said.source_offset for each in plan(letters, query).letters] == offsets


async def test_what_cannot_be_decoded_is_not_even_looked_for_record_by_record(bench: Bench) -> None:
    bomb = letter(reason=Reason.CORRUPT_BATCH, count=150_000_000, last_offset=149_999_999)
    (attempt,) = [attempt async for attempt in attempts(bench.bus, plan([bomb], Query()))]
    assert attempt.skipped == "what cannot be decoded is not sent again"


@pytest.mark.parametrize("topic", ["flc.heartbeats.v1", "flc.acknowledgements.v1", "flc.health.v1"])
async def test_what_speaks_of_a_moment_or_is_a_workers_is_not_sent_again(bench: Bench, topic: str) -> None:
    asked = plan([letter(source_topic=topic)], Query())
    (attempt,) = [attempt async for attempt in attempts(bench.bus, asked)]
    assert attempt.skipped == f"what is on {topic} is not sent again"
