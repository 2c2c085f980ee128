"""The log."""

import io
import logging

import orjson
import structlog

from workers.runtime import logs


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


def test_aiokafka_says_the_same_only_once_in_a_while() -> None:
    stream = io.StringIO()
    logs.configure("info", stream)
    for number in range(1_000):
        logging.getLogger("aiokafka.conn").warning("no connection %d", number)
    assert len(written(stream)) == 1
