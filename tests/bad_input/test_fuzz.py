"""Good events, damaged at random: no worker fails, no record is lost, and the fast parser is a strict one.

FLC_FUZZ_EXAMPLES says how many are tried of each (default: 200, some seconds).
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.dead_letters import DeadLetter
from schemas.event import Inbound
from schemas.instances import Heartbeat
from schemas.reasons import Reason
from schemas.reports import PatternReport
from tests.bad_input import strict
from tests.bad_input.drafts import DRAFTS, MALLORY, heartbeat, report, twice
from tests.deployments import NOW_MS, Instance, context
from workers.collection import Collection
from workers.collection_state import CollectionState
from workers.distribution import Distribution
from workers.fold import Outcome, Record, Step, Worker
from workers.health import Health
from workers.letter_cap import capped
from workers.parsing import parse
from workers.privacy import Privacy

EXAMPLES = int(os.environ.get("FLC_FUZZ_EXAMPLES", "200"))
bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

ALPHA, BETA = Instance("alpha"), Instance("beta")
MINUTE_MS = 60_000

#: A scalar in JSON.
TOKEN = re.compile(rb'"[^"]*"|-?[0-9]+(?:\.[0-9]+)?|true|false|null')

#: A key and its scalar.
MEMBER = re.compile(rb'"[a-z_]+":(?:"[^"]*"|-?[0-9]+)')

#: What is put in its place.
NASTY = [
    *(b"NaN", b"-Infinity", b"1e999", b"-0.0", b"-0", b"1.0", b"1e2", b"0", b"-1", b"007", b"+1", b"0x1"),
    *(b"true", b"null", b"[]", b"{}", b"[[]]", b'{"a":1,"a":2}', b'""', b'"5"', b'"\\ud800"', b'"\xff"'),
    *(b"9007199254740993", b"9223372036854775808", b"18446744073709551616", b"9" * 400, b"0." + b"1" * 400),
    *(
        b'"\\u0000"',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        b"/**/1",
        b"[" * 300,
        b'"alpha"',
        b'"' + b"a" * 300 + b'"',
    ),
]


@st.composite
def damaged(draw: st.DrawFn, value: bytes) -> bytes:
    """Return the JSON with up to three wounds: scalars replaced, members doubled, pieces lost or noise."""
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["scalar", "member", "piece"]))
        if kind == "scalar" and (tokens := list(TOKEN.finditer(value))):
            token = draw(st.sampled_from(tokens))
            start, end, piece = token.start(), token.end(), draw(st.sampled_from(NASTY))
        elif kind == "member" and (members := list(MEMBER.finditer(value))):
            member = draw(st.sampled_from(members))
            start = end = member.end()
            piece = b"," + draw(st.sampled_from([member[0], member[0].replace(b"e", b"\\u0065", 1)]))
        else:
            start = draw(st.integers(0, len(value)))
            end = min(len(value), start + draw(st.integers(0, 12)))
            piece = draw(st.sampled_from([b"", value[start:end] * 2]) | st.binary(max_size=6))
        value = value[:start] + piece + value[end:]
    return value


WOUNDS: st.SearchStrategy[Callable[[Record], Record]] = st.sampled_from(
    [
        *(replace,) * 6,  # as it is
        twice,
        lambda record: replace(record, key=None),
        lambda record: replace(record, key=b"default/\xff"),
        lambda record: replace(record, key=b"default"),
        lambda record: replace(record, key=b"other/beta"),
        lambda record: replace(record, value=None),
        lambda record: replace(record, value=(record.value or b"") + b" "),
        lambda record: replace(record, headers=()),
        lambda record: replace(record, headers=record.headers[1:]),
        lambda record: replace(record, headers=tuple((name, b"\xff") for name, _ in record.headers)),
        lambda record: replace(record, append_ms=record.append_ms + 25 * 60 * MINUTE_MS),
        lambda record: replace(record, append_ms=record.append_ms - 10 * MINUTE_MS),
        lambda record: replace(record, key=None, value=None, append_ms=0),
        lambda record: replace(
            record, headers=(*record.headers, ("content-type", b"application/cloudevents+json"))
        ),
        lambda record: replace(
            record, headers=(*record.headers[-2:], ("content-type", b"application/cloudevents+json"))
        ),
    ]
)


@st.composite
def records(draw: st.DrawFn, topics: list[str]) -> Record:
    """Return an event of one of the topics with wounds before and after its signature."""
    of = draw(st.sampled_from([ALPHA, BETA]))
    draft = DRAFTS[draw(st.sampled_from(topics))](of, NOW_MS + draw(st.integers(0, 3)))
    signer = MALLORY if draw(st.integers(0, 9)) == 0 else None
    record = draft.record(draw(damaged(draft.json)), by=signer)
    return draw(WOUNDS)(record)


def batches(*topics: str) -> st.SearchStrategy[list[list[Record]]]:
    return st.lists(st.lists(records(list(topics)), max_size=8), max_size=4)


class Run:
    """A worker that knows alpha and beta, and the accounts of all that it was given."""

    def __init__(self, kind: type[Worker[Any]], known: list[Record] | None = None) -> None:
        self.worker = capped(kind)(context())
        self.state = self.worker.state()
        self.read: Counter[str] = Counter()
        self.handled: Counter[tuple[str, Outcome]] = Counter()
        self.letters = 0
        self.offset = 0
        self.take([ALPHA.registered(), BETA.registered()] if known is None else known)

    def take(self, batch: list[Record]) -> None:
        placed = [replace(record, offset=self.offset + place) for place, record in enumerate(batch)]
        self.offset += len(batch)
        self.read.update(record.topic for record in batch)
        self._account(self.worker.step(self.state, placed))
        self._account(self.worker.tick(self.state, NOW_MS))

    def end(self) -> None:
        """Let everything fall due, and check that nothing was lost."""
        for days in (1, 2):
            self._account(self.worker.tick(self.state, NOW_MS + days * 24 * 60 * MINUTE_MS))
        read = Counter[str]()
        for (topic, _), count in self.handled.items():
            read[topic] += count
        assert read == self.read
        dead = sum(count for (_, outcome), count in self.handled.items() if outcome is Outcome.DEAD_LETTERED)
        assert dead == self.letters

    def _account(self, step: Step) -> None:
        self.handled.update(step.handled)
        for emit in step.emits:
            if emit.event is None:
                continue
            value = emit.event.encode()
            assert type(emit.event).model_validate_json(value) == emit.event
            assert b"NaN" not in value
            if isinstance(emit.event, DeadLetter):
                self.letters += emit.event.count


@bounded
@given(batches(PatternReport.topic, "flc.instances.v1"))
def test_the_privacy_worker_takes_anything(given_batches: list[list[Record]]) -> None:
    run = Run(Privacy)
    for batch in given_batches:
        run.take(batch)
    run.end()


@bounded
@given(batches(Heartbeat.topic))
def test_the_health_worker_takes_any_heartbeat(given_batches: list[list[Record]]) -> None:
    run = Run(Health)
    for batch in given_batches:
        run.take(batch)
    run.end()


@bounded
@given(batches("flc.commands.v1"))
def test_the_collection_takes_any_request(given_batches: list[list[Record]]) -> None:
    run = Run(Collection, [])
    for batch in given_batches:
        run.take(batch)
    run.end()
    assert isinstance(run.state, CollectionState)
    assert not any(run.state.waiting.of("default"))


@bounded
@given(batches("flc.acknowledgements.v1"))
def test_the_distribution_takes_any_acknowledgement(given_batches: list[list[Record]]) -> None:
    run = Run(Distribution, [])
    for batch in given_batches:
        run.take(batch)
    run.end()


@pytest.mark.parametrize(
    ("good", "model", "fields"),
    [
        (report(ALPHA, NOW_MS).json, PatternReport, strict.REPORT),
        (heartbeat(ALPHA, NOW_MS).json, Heartbeat, strict.HEARTBEAT),
    ],
    ids=["reports", "heartbeats"],
)
@bounded
@given(data=st.data())
def test_the_parser_takes_exactly_what_a_strict_one_takes(
    good: bytes, model: type[Inbound], fields: Mapping[str, strict.Check], data: st.DataObject
) -> None:
    value = data.draw(damaged(good))
    event = parse(value, model)
    try:
        document = strict.read(value, fields)
    except strict.NotStrictError:
        assert isinstance(event, Reason)
    else:
        assert not isinstance(event, Reason), event
        columns = {name: tuple(one) if isinstance(one, list) else one for name, one in document.items()}
        assert {name: getattr(event, name) for name in fields} == columns
