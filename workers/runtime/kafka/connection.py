"""What all clients of the cluster share: how they connect, what their errors mean, and how they end."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    InvalidProducerEpoch,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    ProducerFenced,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from workers.runtime.port import BusError, Fenced, OffsetLost, Unavailable
from workers.settings import Settings

#: Seconds that a client may take to start: an unreachable cluster is known after that.
START_LIMIT_S = 8.0

#: Seconds that a client may take to say goodbye before its connections are cut.
CLOSE_LIMIT_S = 3.0

#: Seconds that a single request may take, offsets and administration.
REQUEST_LIMIT_S = 10.0

#: What a retry does not cure.
_PERMANENT = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)


def address(settings: Settings) -> str:
    """Return the configured bootstrap servers; raises BusError if there are none."""
    if not settings.bootstrap_servers:
        raise BusError("no broker is configured: set KAFKA_BOOTSTRAP_SERVERS to host:port")
    return settings.bootstrap_servers


def arguments(settings: Settings) -> dict[str, Any]:
    """Return the arguments of every aiokafka client; raises BusError on incomplete settings."""
    connect: dict[str, Any] = {
        "bootstrap_servers": address(settings).split(","),
        "client_id": settings.client_id,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.endswith("SSL"):
        try:
            context = ssl.create_default_context(cafile=settings.ssl_cafile)
            if settings.ssl_certfile is not None:
                context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile)
        except OSError as error:
            raise BusError(f"the TLS files cannot be used: {error}") from error
        connect["ssl_context"] = context
    if settings.security_protocol.startswith("SASL"):
        if settings.sasl_mechanism is None or settings.sasl_username is None:
            raise BusError(f"{settings.security_protocol} needs KAFKA_SASL_MECHANISM and KAFKA_SASL_USERNAME")
        connect["sasl_mechanism"] = settings.sasl_mechanism
        connect["sasl_plain_username"] = settings.sasl_username
        connect["sasl_plain_password"] = _password(settings)
    return connect


def _password(settings: Settings) -> str:
    if settings.sasl_password_file is not None:
        try:
            return settings.sasl_password_file.read_text().strip()
        except OSError as error:
            raise BusError(f"the password file cannot be read: {error}") from error
    if settings.sasl_password is None:
        raise BusError("SASL needs KAFKA_SASL_PASSWORD or KAFKA_SASL_PASSWORD_FILE")
    return settings.sasl_password.get_secret_value()


@asynccontextmanager
async def within(limit_s: float, what: str) -> AsyncIterator[None]:
    """Bound what aiokafka does and raise the port's errors; ``what`` names it in the message."""
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError as error:
        raise Unavailable(f"{what}: no answer within {limit_s:.1f} s") from error
    # Fenced is also what the broker calls a transaction that it has timed out.
    except (ProducerFenced, InvalidProducerEpoch) as error:
        raise Fenced(f"{what}: {_words(error)}") from error
    except OffsetOutOfRangeError as error:
        raise OffsetLost(f"{what}: {_words(error)}") from error
    except _PERMANENT as error:
        raise BusError(f"{what}: {_words(error)}") from error
    # aiokafka asserts its state transitions: an AssertionError is a producer in a fatal state.
    except (KafkaError, OSError, AssertionError) as error:
        raise Unavailable(f"{what}: {_words(error)}") from error


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def end(*steps: Callable[[], Awaitable[object]]) -> None:
    """Go through the steps of a shutdown, each within a bound and whatever became of the one before.

    Nothing is lost by a step that fails: what had to be safe was acknowledged before.
    """
    for step in steps:
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await step()
        except (TimeoutError, KafkaError, OSError, AssertionError):
            continue
        except asyncio.CancelledError:
            # aiokafka lets the cancellation of its own tasks out; ours must pass.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
