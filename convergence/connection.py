"""The bus of an integration: the configured broker or, with none, a log in memory with all workers on it."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from convergence.keys import Keys
from schemas.reports import Contribution
from schemas.topics import Topic, Topics, load
from workers.catalogue import WORKERS
from workers.runtime import logs, topology
from workers.runtime.memory import MemoryBus
from workers.runtime.port import Bus
from workers.runtime.supervisor import Process
from workers.settings import Settings

_log = logging.getLogger(__name__)

#: In one process there is nothing to spread.
PARTITIONS = 1

#: In one process a result costs little: the next update need not wait.
UPDATE_INTERVAL_MS = 1

#: For so long the log keeps what has been read, at most: nobody comes later …
RETENTION_MS = 3_600_000

#: … but to the contributions, which the aggregation may fold again since its last flush, a day ago.
CONTRIBUTIONS_MS = 2 * 86_400_000

#: How often the log is cleaned, in seconds.
CLEAN_EVERY_S = 60.0

#: Synchronizations are asked for; the workers' own schedule is a year away.
SYNC_WINDOW_S = 365 * 86_400.0

Connection = AbstractAsyncContextManager[tuple[Bus, Settings]]


def connect(settings: Settings) -> Connection:
    """Return the way to a bus, and the settings that hold there."""
    return _in_memory(settings) if settings.bootstrap_servers is None else _configured(settings)


@asynccontextmanager
async def _configured(settings: Settings) -> AsyncIterator[tuple[Bus, Settings]]:
    from workers.runtime.kafka import KafkaBus  # noqa: PLC0415  (without a broker nobody needs aiokafka)

    if settings.enrolment == "open":
        _ensure_identity_key(settings)
    bus = KafkaBus(settings)
    try:
        yield bus, settings
    finally:
        await bus.close()


def _ensure_identity_key(settings: Settings) -> None:
    """Make the first identity key, where whoever comes first is trusted anyway."""
    keys = Keys(settings.keys_directory)
    if not keys.has_federation(settings.federation):
        keys.new_federation(settings.federation)
        _log.warning(
            "identity_key.made in %s: every deployment of the federation %s needs a copy of it",
            settings.keys_directory,
            settings.federation,
        )


@asynccontextmanager
async def _in_memory(settings: Settings) -> AsyncIterator[tuple[Bus, Settings]]:
    logs.embed()
    topics = _forgetful(load().with_partitions(PARTITIONS))
    workers = tuple(WORKERS.values())
    changelogs = [topics.changelog(worker.name, worker.inputs) for worker in workers]
    bus = MemoryBus()
    await topology.apply(bus, topology.plan([*topics.declared.values(), *changelogs], {}))
    with tempfile.TemporaryDirectory(prefix="convergence-") as directory:
        local = settings.model_copy(
            update={
                "enrolment": "open",
                "keys_directory": Path(directory),
                "update_interval_ms": UPDATE_INTERVAL_MS,
                "sync_window_s": SYNC_WINDOW_S,
            }
        )
        Keys(local.keys_directory).new_federation(local.federation)
        cleaning = asyncio.create_task(_clean(bus))
        try:
            async with Process(bus, workers, local, topics=topics, forgetful=True):
                yield bus, local
        finally:
            cleaning.cancel()


async def _clean(bus: MemoryBus) -> None:
    while True:
        await asyncio.sleep(CLEAN_EVERY_S)
        bus.log.clean()


def _forgetful(topics: Topics) -> Topics:
    """Return the topics with retentions for a log that has to fit into memory."""

    def kept(topic: Topic) -> Topic:
        declared_ms = int(topic.configs.get("retention.ms", -1))
        limit_ms = CONTRIBUTIONS_MS if topic.name == Contribution.topic else RETENTION_MS
        if declared_ms < 0:  # kept for ever, or compacted
            return topic
        retention = {"retention.ms": str(min(declared_ms, limit_ms))}
        return topic.model_copy(update={"configs": {**topic.configs, **retention}})

    return topics.model_copy(update={"declared": {name: kept(one) for name, one in topics.declared.items()}})
