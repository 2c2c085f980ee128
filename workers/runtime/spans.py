"""Hops as spans of OpenTelemetry, the optional extra ``tracing``; nothing else imports this.

Every round is one trace. Its id follows from the round's, so all workers know it, after a crash too, and no
event has to carry it. The root, ``round {kind}``, is told by whoever publishes how the round ended; below it
stands one ``process {topic}`` for each hop, with links to the hops whose records it took. What belongs to no
round (reports, heartbeats) goes on with the trace of its record if that is the only one, and else has a trace
of its own, with links.
Source: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from schemas.cloudevents import Headers
from schemas.convergence import RoundAbandoned, RoundEvent, RoundResult
from workers.fold import Emit, Record
from workers.version import code_version

TRACEPARENT = "traceparent"

#: An SDK keeps so many links of a span.
MAX_LINKS = 128

_W3C = TraceContextTextMapPropagator()


class _Ids(RandomIdGenerator):
    """Random ids, but for the root of a round."""

    root: SpanContext | None = None

    def generate_trace_id(self) -> int:
        return super().generate_trace_id() if self.root is None else self.root.trace_id

    def generate_span_id(self) -> int:
        return super().generate_span_id() if self.root is None else self.root.span_id


class SpanHop:
    """The spans of one step: one for each round that it publishes something of, or one for all."""

    def __init__(self, spans: dict[str | None, Span]) -> None:
        self._traceparents: dict[str | None, Headers] = {}
        for round_id, span in spans.items():
            carrier: dict[str, str] = {}
            _W3C.inject(carrier, set_span_in_context(span))
            # Nothing, where OTEL_SDK_DISABLED has the last word.
            self._traceparents[round_id] = tuple(
                (name, value.encode()) for name, value in carrier.items() if name == TRACEPARENT
            )

    def headers(self, emit: Emit) -> Headers:
        """Return the traceparent of the emit's round; what is of no round goes with the step's first."""
        found = self._traceparents.get(_round_of(emit))
        return found or next(iter(self._traceparents.values()))


class Spans:
    """Tracing with OpenTelemetry: its own provider, so that a program that embeds the workers keeps its own.

    ``system`` tells the rounds of one system from those of another that sends to the same collector.
    """

    def __init__(self, system: str, processor: SpanProcessor) -> None:
        self._ids = _Ids()
        self._system = system
        resource = Resource.create({SERVICE_NAME: "flc", SERVICE_VERSION: code_version()})
        self._provider = TracerProvider(id_generator=self._ids, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("flc")

    @contextmanager
    def hop(
        self, worker: str, partition: int, records: Sequence[Record], emits: Sequence[Emit], took_s: float
    ) -> Iterator[SpanHop]:
        """Tell of a step that publishes something; of another there is nothing to link to."""
        if not emits:
            yield SpanHop({})
            return
        started_ns = time.time_ns() - int(took_s * 1e9)
        causes = _causes(records)
        name = f"process {records[-1].topic}" if records else f"tick {worker}"
        attributes: dict[str, AttributeValue] = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": worker,
            "messaging.destination.partition.id": str(partition),
            "messaging.batch.message_count": len(records),
        }
        if records:
            attributes["messaging.destination.name"] = records[-1].topic
        rounds = list(dict.fromkeys(found for emit in emits if (found := _round_of(emit)) is not None))
        spans: dict[str | None, Span] = {}
        of: Sequence[str | None] = rounds or [None]
        for round_id in of:
            parent = (causes[0] if len(causes) == 1 else None) if round_id is None else self._root(round_id)
            spans[round_id] = self._tracer.start_span(
                name,
                None if parent is None else set_span_in_context(NonRecordingSpan(parent)),
                SpanKind.CONSUMER,
                attributes if round_id is None else {**attributes, "flc.round_id": round_id},
                [Link(cause) for cause in causes[:MAX_LINKS]],
                started_ns,
            )
        try:
            yield SpanHop(spans)
        except BaseException as error:
            for span in spans.values():
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        else:
            for emit in emits:
                self._ended(emit, started_ns)
        finally:
            for span in spans.values():
                span.end()

    def close(self) -> None:
        """Send what has not been sent; waits for the collector."""
        self._provider.shutdown()

    def _root(self, round_id: str) -> SpanContext:
        digest = blake2b(f"{self._system}\0{round_id}".encode(), digest_size=24).digest()
        trace_id = int.from_bytes(digest[:16], "big")
        decision = self._provider.sampler.should_sample(None, trace_id, round_id).decision
        sampled = decision is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        return SpanContext(trace_id, int.from_bytes(digest[16:], "big"), is_remote=True, trace_flags=flags)

    def _ended(self, emit: Emit, started_ns: int) -> None:
        """Tell of a whole round, when the event that ends it is published."""
        event = emit.event
        if isinstance(event, RoundResult):
            if event.part < event.parts - 1:
                return
            outcome, started_ns = "completed", event.opened_at * 1_000_000
        elif isinstance(event, RoundAbandoned):
            outcome = "abandoned"
        else:
            return
        self._tell_root(event, outcome, started_ns)

    def _tell_root(self, event: RoundEvent, outcome: str, started_ns: int) -> None:
        self._ids.root = self._root(event.round_id)
        try:
            self._tracer.start_span(
                f"round {event.kind}",
                attributes={
                    "flc.round_id": event.round_id,
                    "flc.federation": event.federation,
                    "flc.outcome": outcome,
                },
                start_time=started_ns,
            ).end()
        finally:
            self._ids.root = None


def exporting(system: str) -> Spans:
    """Return spans that go to a collector; its address and all else is OpenTelemetry's own (``OTEL_…``)."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    return Spans(system, BatchSpanProcessor(OTLPSpanExporter()))


def _round_of(emit: Emit) -> str | None:
    return getattr(emit.event, "round_id", None)


def _causes(records: Sequence[Record]) -> list[SpanContext]:
    """Return the hops that the records come from, each once."""
    found = {}
    for record in records:
        for name, value in record.headers:
            if name == TRACEPARENT and value is not None:  # Kafka knows headers without a value
                context = _W3C.extract({TRACEPARENT: value.decode("ascii", "replace")})
                cause = get_current_span(context).get_span_context()
                if cause.is_valid:
                    found[cause.trace_id, cause.span_id] = cause
    return list(found.values())
