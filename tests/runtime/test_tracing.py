"""One round is one trace; what is published names the hop that it comes from; off costs nothing."""

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, StatusCode

from flc.worker import tracer
from schemas import cloudevents
from tests.convergence.federation import new_settings
from tests.observation.live import new_bus, synchronized
from tests.runtime.toys import NUMBERS, SUMS, World, told, until
from workers.catalogue import WORKERS
from workers.fold import Emit, Record
from workers.runtime.memory import MemoryBus
from workers.runtime.port import Message, TopicPartition
from workers.runtime.spans import TRACEPARENT, Spans
from workers.runtime.supervisor import Process
from workers.settings import Settings

#: What a client has put into the headers of a record that it sends.
SENDER = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Told:
    """What has been told of."""

    def __init__(self, system: str = "flc") -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = Spans(system, SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def of_round(self, round_id: str) -> list[ReadableSpan]:
        return [span for span in self.spans if (span.attributes or {}).get("flc.round_id") == round_id]

    def close(self) -> None:
        self.tracing.close()


@pytest.fixture
def telling() -> Iterator[Told]:
    told_of = Told()
    yield told_of
    told_of.close()


def own(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def trace_of(span: ReadableSpan) -> int:
    return own(span).trace_id


def traceparents(bus: MemoryBus, topic: str) -> list[bytes]:
    partitions = bus.log.partitions_of([topic])
    records = [record for at in partitions for record in bus.log.records(at)]
    return [value for record in records for name, value in record.headers if name == TRACEPARENT]


def traced(world: World, telling: Told) -> Process:
    return Process(
        world.bus,
        world.workers,
        world.settings,
        topics=world.topics,
        clock=world.clock,
        tracing=telling.tracing,
    )


async def test_a_round_is_one_trace_from_its_opening_to_its_result(telling: Told, tmp_path: Path) -> None:
    settings = new_settings(tmp_path, release_threshold=2)
    bus = await new_bus()
    async with Process(bus, tuple(WORKERS.values()), settings, tracing=telling.tracing):
        completed = await synchronized(bus, settings)
        await until(lambda: any(span.name == "round synchronization" for span in telling.spans))
    spans = telling.of_round(completed.round_id)
    (root,) = [span for span in spans if span.name == "round synchronization"]
    assert {trace_of(span) for span in spans} == {trace_of(root)}
    assert root.parent is None
    assert root.start_time == completed.opened_at * 1_000_000
    # Everything else stands below it, …
    hops = [span for span in spans if span is not root]
    assert {span.parent.span_id for span in hops if span.parent} == {own(root).span_id}
    assert all(span.parent for span in hops)
    # … every phase and the partitions of the aggregation are there, …
    groups = {(span.attributes or {})["messaging.consumer.group.name"] for span in hops}
    assert groups == set(WORKERS) - {"privacy", "health"}
    assert {
        "process flc.rounds.v1",
        "process flc.contributions.v1",
        "process flc.partials.v1",
        "process flc.acknowledgements.v1",
    } <= {span.name for span in hops}
    # … and the hops hang together: whoever took a hand-over links to whoever wrote it.
    ids = {own(span).span_id for span in hops}
    linked = [span for span in hops if any(link.context.span_id in ids for link in span.links)]
    assert len(linked) > len(hops) / 2
    # What is published says where it comes from.
    assert all(
        f"{trace_of(root):032x}".encode() in each for each in traceparents(bus, "flc.partials.v1")[-6:]
    )


async def test_two_rounds_are_two_traces_and_another_system_has_others(telling: Told, tmp_path: Path) -> None:
    settings = new_settings(tmp_path, release_threshold=2)
    bus = await new_bus()
    async with Process(bus, tuple(WORKERS.values()), settings, tracing=telling.tracing):
        first, second = [await synchronized(bus, settings) for _ in range(2)]
    (one,) = {trace_of(span) for span in telling.of_round(first.round_id)}
    (other,) = {trace_of(span) for span in telling.of_round(second.round_id)}
    assert one != other
    elsewhere = Told("another")
    assert elsewhere.tracing._root(first.round_id).trace_id != one
    elsewhere.close()


async def test_what_a_sender_traces_goes_on(telling: Told) -> None:
    world = World()
    async with traced(world, telling):
        world.log.append(Message(NUMBERS, 0, b"toy", b"1", ((TRACEPARENT, SENDER),)))
        await told(world, 1)
    (span,) = telling.spans
    assert span.name == f"process {NUMBERS}"
    assert span.parent is not None
    assert f"{trace_of(span):032x}".encode() in SENDER
    assert [f"{link.context.span_id:016x}" for link in span.links] == ["b7ad6b7169203331"]
    (published,) = world.log.records(TopicPartition(SUMS, 0))
    assert header(published) == f"00-{trace_of(span):032x}-{own(span).span_id:016x}-01".encode()
    assert cloudevents.read(published.headers, published.value or b"").type == "Sum"


@pytest.mark.parametrize("value", [b"\xff garbage", None])
async def test_a_traceparent_that_is_none_is_ignored(telling: Told, value: Any) -> None:
    world = World()
    async with traced(world, telling):
        world.log.append(Message(NUMBERS, 0, b"toy", b"1", ((TRACEPARENT, value),)))
        await told(world, 1)
    (span,) = telling.spans
    assert (span.parent, list(span.links)) == (None, [])


async def test_a_step_that_fails_is_told_as_failed_and_again_as_done(telling: Told) -> None:
    world = World()
    async with traced(world, telling) as process:
        await until(lambda: process.ready)
        world.bus.faults.before_commit = 1
        world.say(1)
        await told(world, 1)
    failed, done = telling.spans
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "Unavailable")
    assert done.status.status_code is StatusCode.UNSET
    (published,) = world.log.records(TopicPartition(SUMS, 0))
    assert f"{own(done).span_id:016x}".encode() in header(published)


def header(record: Record) -> bytes:
    return dict(record.headers)[TRACEPARENT]


async def test_where_opentelemetry_is_disabled_nothing_is_told_and_everything_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    telling, world = Told(), World()
    async with traced(world, telling):
        world.say(1)
        await told(world, 1)
    (published,) = world.log.records(TopicPartition(SUMS, 0))
    assert TRACEPARENT not in dict(published.headers)
    assert telling.spans == ()


async def test_off_writes_no_header() -> None:
    world = World()
    async with world.running():
        world.log.append(Message(NUMBERS, 0, b"toy", b"1", ((TRACEPARENT, SENDER),)))
        await told(world, 1)
    (published,) = world.log.records(TopicPartition(SUMS, 0))
    assert TRACEPARENT not in dict(published.headers)


def test_off_imports_nothing() -> None:
    code = "import sys, flc.worker; assert 'opentelemetry' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603


def test_switched_on_without_the_extra_it_says_what_is_missing() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; from flc.main import main; main()"
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, "worker", "run", "privacy"],
        env={
            **os.environ,
            "FLC_TRACING": "true",
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
            "FLC_HTTP_PORT": "0",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert "uv run --extra tracing" in ended.stderr
    assert "Traceback" not in ended.stderr


class Collector(BaseHTTPRequestHandler):
    """Takes what is sent to it."""

    taken: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        self.taken.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_switched_on_the_spans_reach_the_collector_before_the_process_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        Thread(target=collector.serve_forever).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        record = Record(NUMBERS, 0, 0, 0, None, b"1")
        emit = Emit(SUMS, 0, "toy", None, "sum/0", 0)
        with tracer(Settings(tracing=True)) as tracing, tracing.hop("adder", 0, [record], [emit], 0.0):
            pass
        collector.shutdown()
    ((path, sent),) = Collector.taken
    assert path == "/v1/traces"
    assert f"process {NUMBERS}".encode() in sent
