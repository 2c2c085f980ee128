"""What all clients of the cluster share: how they connect, what their errors mean, and how they end."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    InvalidProducerEpoch,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    ProducerFenced,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)

from workers.runtime.port import BusError, Fenced, OffsetLost, Refused, Unavailable
from workers.settings import Settings

#: Seconds that a client may take to start: an unreachable cluster is known after that.
START_LIMIT_S = 8.0

#: Seconds that a client may take to say goodbye before its connections are cut.
CLOSE_LIMIT_S = 3.0

#: Seconds that a single request may take, offsets and administration.
REQUEST_LIMIT_S = 10.0

#: Seconds that the question may take why a client did not start.
_KNOCK_LIMIT_S = 2.0

#: What the access list does not say.
_NOT_PERMITTED = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

#: What a retry does not cure.
_PERMANENT = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ConsumerStoppedError,
    IllegalStateError,
    InvalidTopicError,
    MessageSizeTooLargeError,
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
            return settings.sasl_password_file.read_text().rstrip("\r\n")
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
    except _NOT_PERMITTED as error:
        raise Refused(f"{what}: not permitted ({_words(error)}): see `flc topics acls`") from error
    except _PERMANENT as error:
        raise BusError(f"{what}: {_words(error)}") from error
    # aiokafka asserts its state transitions: an AssertionError is a producer in a fatal state.
    except (KafkaError, OSError, AssertionError) as error:
        raise Unavailable(f"{what}: {_words(error)}") from error


@asynccontextmanager
async def starting(settings: Settings) -> AsyncIterator[None]:
    """Bound the start of a client; raises Refused with what to change, or Unavailable.

    aiokafka keeps the reason of a failed connection to its own log: so we ask once more.
    """
    try:
        async with within(START_LIMIT_S, f"Kafka at {settings.bootstrap_servers}"):
            yield
    except Unavailable as error:
        if not isinstance(error.__cause__, TimeoutError):  # that has taken long enough
            await _knock(settings)
        raise


async def _knock(settings: Settings) -> None:
    """Connect to each server and raise Refused if one does not let us in."""
    connect = arguments(settings)
    for host, port, _ in collect_hosts(connect.pop("bootstrap_servers")):
        try:
            async with asyncio.timeout(_KNOCK_LIMIT_S):
                connection = await create_conn(host, port, **connect)
                await connection.close()
        except (KafkaError, OSError, TimeoutError) as error:
            if (why := _refusal(error, settings)) is not None:
                raise Refused(f"Kafka at {host}:{port} {why}") from error


def _refusal(error: BaseException, settings: Settings) -> str | None:
    """Return why a connection was refused and what to change; None if it is not that."""
    cause = error.__cause__ if isinstance(error, KafkaConnectionError) else error
    match cause:
        case SaslAuthenticationFailed():
            return (
                f"does not accept the user {settings.sasl_username} with this password "
                f"({settings.sasl_mechanism}): see KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD or "
                "KAFKA_SASL_PASSWORD_FILE"
            )
        case UnsupportedSaslMechanismError():
            return f"does not take {settings.sasl_mechanism}: see KAFKA_SASL_MECHANISM"
        case ssl.SSLCertVerificationError():
            return (
                f"shows a certificate that cannot be verified ({cause.verify_message}): KAFKA_SSL_CAFILE "
                "names the file of the authority that signed it"
            )
        case ssl.SSLError():
            return (
                f"ended the TLS handshake ({cause.reason}): see KAFKA_SECURITY_PROTOCOL, and "
                "KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE if it asks for a certificate"
            )
        case _:
            return None


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
        # LookupError: a task of aiokafka looks for the batch that it was to send again, which we gave up.
        except (TimeoutError, KafkaError, OSError, AssertionError, LookupError):
            continue
        except asyncio.CancelledError:
            # aiokafka lets the cancellation of its own tasks out; ours must pass.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
