"""The log."""

import io
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import structlog

from schemas.convergence import RoundAbandoned, SynchronizationCompleted
from schemas.dead_letters import DeadLetter
from schemas.reasons import Reason
from schemas.rounds import CollectionCompleted
from tests.runtime.toys import NUMBERS, SUMS, Adder, AdderState, World, until
from tests.workers.line import Line, shared_rows
from workers import dead_letters
from workers.fold import Record, Step
from workers.runtime import logs
from workers.runtime.notable import notable


def written(stream: io.StringIO) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_is_one_object_whoever_logs_it() -> None:
    stream = io.StringIO()
    logs.configure("info", stream)
    structlog.get_logger("flc.task").info("task.failed", worker="privacy", offset=7)
    logging.getLogger("somebody").warning("said %s", "hello")
    structlog.get_logger("flc.task").debug("unheard")
    own, other = written(stream)
    assert (own["event"], own["level"], own["worker"], own["offset"]) == ("task.failed", "info", "privacy", 7)
    assert other["event"] == "said hello"
    assert str(own["timestamp"]).endswith("Z")


def test_an_exception_is_an_object_and_tells_no_local_variables() -> None:
    stream = io.StringIO()
    logs.configure("info", stream)

    def fail(secret: str) -> None:
        raise ValueError(len(secret))

    try:
        fail("what an instance sent")
    except ValueError as error:
        structlog.get_logger("flc.task").warning("task.failed", exc_info=error)
    (line,) = written(stream)
    assert "ValueError" in stream.getvalue()
    assert isinstance(line["exception"], list)
    assert "what an instance sent" not in stream.getvalue()


def test_on_a_terminal_it_is_readable() -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    logs.configure("info", terminal)
    structlog.get_logger("flc.task").info("task.failed", worker="privacy")
    assert not terminal.getvalue().startswith("{")
    assert "task.failed" in terminal.getvalue()


def test_aiokafka_says_the_same_only_once_in_a_while() -> None:
    stream = io.StringIO()
    logs.configure("info", stream)
    for number in range(1_000):
        logging.getLogger("aiokafka.conn").warning("no connection %d", number)
    assert len(written(stream)) == 1


class Refusing(Adder):
    """An adder that refuses what is no number."""

    name = "refusing"

    def step(self, state: AdderState, records: Sequence[Record]) -> Step:
        numbers = [record for record in records if (record.value or b"").isdigit()]
        step = super().step(state, numbers)
        for record in [one for one in records if one not in numbers]:
            context = replace(self.context, partitions={DeadLetter.topic: 2})
            letter = dead_letters.refuse(record, Reason.BAD_JSON, self.name, context, "default")
            step.emits.append(replace(letter, topic=SUMS))
        return step


async def test_what_is_refused_is_a_line_with_its_place_and_reason_and_without_its_content() -> None:
    stream = io.StringIO()
    world = World(workers=(Refusing,))
    async with world.running():
        logs.configure("info", stream)
        world.say(1, "secret", partition=1)
        await until(lambda: "refused" in stream.getvalue())
    (line,) = [one for one in written(stream) if one["event"] == "record.refused"]
    assert (line["worker"], line["topic"], line["partition"], line["offset"]) == ("refusing", NUMBERS, 1, 1)
    assert (line["reason"], line["federation"], line["count"]) == ("bad_json", "default", 1)
    assert "secret" not in stream.getvalue()


def test_a_synchronization_that_ends_is_a_line_and_nothing_else_of_a_round_is() -> None:
    line = Line(collection_deadline_ms=1_000)
    line.report("alpha", shared_rows(), 1)
    line.ask("first")
    line.wait(10_000)
    line.report("beta", shared_rows(), 1)
    line.ask("second")
    line.wait(60_000)
    published = [*line.events(CollectionCompleted), *line.events(RoundAbandoned)]
    told = [one for one in map(notable, [*published, *line.events(SynchronizationCompleted)]) if one]
    assert [(event, fields["round_id"], fields["instances"]) for event, fields in told] == [
        ("round.abandoned", "default/synchronization/1", 1),
        ("round.completed", "default/synchronization/2", 2),
    ]


def test_every_line_is_named_by_a_dotted_word() -> None:
    root = Path(logs.__file__).parents[2]
    files = [path for of in ("flc", "convergence", "workers") for path in (root / of).rglob("*.py")]
    call = re.compile(r"log\.(?:debug|info|warning|error|exception)\(\s*\"([^\"]+)\"")
    names = [name for path in files for name in call.findall(path.read_text())]
    assert len(names) > 10
    assert [name for name in names if not re.match(r"[a-z_]+\.[a-z_%]+( |$)", name)] == []
