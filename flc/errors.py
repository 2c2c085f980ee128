"""Errors that have a known remedy, as one sentence; anything else is a defect and keeps its traceback."""

import re

from pydantic import ValidationError
from pydantic_settings import SettingsError

from convergence.errors import ConvergenceError, KeyFileError, PatternError
from flc.broker import BrokerFailed
from flc.connection import NotConfigured, PortTaken
from schemas.topics import TopicsInvalid
from workers.runtime.failures import Misconfigured
from workers.runtime.port import BusError, Unavailable
from workers.settings import Settings

FAILURE = 1
USAGE = 2


def explain(error: BaseException) -> tuple[str | None, int]:
    """Return the sentence and the exit code for ``error``; no sentence if it is not a known one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    match error:
        case ValidationError(title=Settings.__name__) | SettingsError():
            return f"a setting is wrong: {_wrong(error)}", USAGE
        case ValidationError():
            return "; ".join(_place(detail["loc"]) + detail["msg"] for detail in error.errors()), USAGE
        case (
            NotConfigured()
            | PortTaken()
            | Misconfigured()
            | TopicsInvalid()
            | KeyFileError()
            | PatternError()
        ):
            return str(error), USAGE
        case Unavailable():
            return f"the broker does not answer: {error} (KAFKA_BOOTSTRAP_SERVERS says where it is)", FAILURE
        case BusError() | BrokerFailed() | ConvergenceError():
            return str(error), FAILURE
        case _:
            return None, FAILURE


def _wrong(error: ValidationError | SettingsError) -> str:
    if isinstance(error, SettingsError):  # its text names the field, and not what is no JSON there
        field = re.search(r'field "(\w+)"', str(error))
        return f"{_variable((field[1],) if field else ())}: write it as JSON"
    return "; ".join(
        f"{_variable(detail['loc'])}: {detail['msg']}" for detail in error.errors(include_url=False)
    )


def _variable(location: tuple[int | str, ...]) -> str:
    """Return the environment variable of a setting, as the person has to write it."""
    name = str(location[0]) if location else "settings"
    return name if name.isupper() else f"FLC_{name.upper()}"


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""
