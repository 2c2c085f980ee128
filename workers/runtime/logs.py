"""The log: one JSON object a line on stderr, or a readable form on a terminal."""

import logging
import sys
import time
from typing import Any, TextIO

import structlog

#: While a broker is away aiokafka logs thousands of lines: of one message so many seconds apart at most.
AIOKAFKA_EVERY_S = 10.0

#: An exception as a dict, without the local variables: they hold what instances sent.
_exceptions = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


class RateLimit(logging.Filter):
    """Lets the same message through once in a while, with the count of what was held back."""

    def __init__(self, every_s: float) -> None:
        super().__init__()
        self._every_s = every_s
        self._last: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        message, now = str(record.msg), time.monotonic()
        if now - self._last.get(message, -self._every_s) < self._every_s:
            self._held[message] = self._held.get(message, 0) + 1
            return False
        self._last[message] = now
        if held := self._held.pop(message, 0):
            record.held_back = held
        return True


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send what is logged, by structlog or the standard library, through one formatter to ``stream``."""
    stream = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=["held_back"]),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[Any] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if stream.isatty()
        else [_exceptions, structlog.processors.JSONRenderer(default=str)]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    limit = RateLimit(AIOKAFKA_EVERY_S)
    handler.addFilter(lambda record: not record.name.startswith("aiokafka") or limit.filter(record))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # uvicorn brings handlers of its own; aiokafka below warning tells of every fetch.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in ("aiokafka", "uvicorn.access"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def embed() -> None:
    """Leave the log to the program in whose process workers run, unless it has configured structlog itself.

    They log through the standard library, by whose rules it shows warnings and worse until it says otherwise.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
