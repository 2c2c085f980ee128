"""Workers in a process of their own on a real Kafka, and all that they make of what is thrown at them."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import Process as Child
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.request import urlopen

import orjson
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from convergence.instances import list_instances
from schemas.dead_letters import DeadLetter
from schemas.reports import Admission
from schemas.signing import public_key
from schemas.topics import load
from tests.deployments import OPERATOR
from workers.catalogue import WORKERS
from workers.fold import Record
from workers.runtime import topology
from workers.runtime.kafka import KafkaBus
from workers.runtime.port import Message, Reader, TopicPartition
from workers.settings import Settings

ROOT = Path(__file__).parent.parent.parent

COMMAND = (sys.executable, "-c", "from flc.main import main; main()")

#: The workers that read what comes from outside.
RUNNING = ("privacy", "health", "collection", "distribution")

#: What every wait may take, in seconds.
LIMIT_S = 90.0

#: topic, partition, offset.
Place = tuple[str, int, int]


@dataclass
class Landed:
    """Dead letters and admissions by the place of the record that they are about, as they come."""

    letters: defaultdict[Place, list[tuple[DeadLetter, Record]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    admissions: dict[Place, Admission] = field(default_factory=dict)

    def take(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.topic == DeadLetter.topic:
                letter = DeadLetter.model_validate_json(record.value or b"")
                place = (letter.source_topic, letter.source_partition, letter.source_offset)
                self.letters[place].append((letter, record))
            else:
                admission = Admission.model_validate_json(record.value or b"")
                at = admission.position
                self.admissions[at.topic, at.partition, at.offset] = admission


@dataclass(frozen=True)
class Accounts:
    """What the workers say of themselves: records by worker and topic, refused ones by worker."""

    read: Counter[tuple[str, str]]
    handled: Counter[tuple[str, str]]
    refused: Counter[str]
    #: Those for which a dead letter stands.
    lettered: Counter[str]


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it printed."""

    code: int | None
    out: str
    errors: str


class System:
    """The running workers; ``federation`` is the one whose operator they know."""

    def __init__(
        self,
        bus: KafkaBus,
        directory: Path,
        federation: str,
        workers: Sequence[str] = RUNNING,
        **environment: str,
    ) -> None:
        self.bus = bus
        self._workers = workers
        self.landed = Landed()
        self.errors = directory / "stderr"
        #: Records that were sent, by topic.
        self.sent: Counter[str] = Counter()
        self._directory = directory
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("FLC_", "KAFKA_"))},
            "PYTHONPATH": str(ROOT),
            "FLC_OPERATOR_KEYS": orjson.dumps({federation: public_key(OPERATOR)}).decode(),
            "FLC_HTTP_PORT": "0",
            "FLC_SESSION_TIMEOUT_MS": "6000",
            **environment,
        }
        self._process: Child | None = None
        self._reader: Reader | None = None

    async def __aenter__(self) -> Self:
        topics = load()
        changelogs = [topics.changelog(worker.name, worker.inputs) for worker in WORKERS.values()]
        declared = [*topics.declared.values(), *changelogs]
        live = await self.bus.describe([topic.name for topic in declared])
        await topology.apply(self.bus, topology.plan(declared, live))
        outputs = [
            TopicPartition(topic, number)
            for topic in (DeadLetter.topic, Admission.topic)
            for number in range(topics[topic].partitions)
        ]
        self._reader = await self.bus.reader(await self.bus.end_offsets(outputs))
        with self.errors.open("wb") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *(*COMMAND, "worker", "run", *self._workers),
                env=self._environment,
                cwd=self._directory,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
            )
        await self.until(lambda: self._address() is not None)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        if self._reader is not None:
            await self._reader.close()

    async def send(self, records: Sequence[Record]) -> list[Place]:
        """Send records to the partitions that they name and return where they stand."""
        producer = await self.bus.producer()
        messages = [Message(one.topic, one.partition, one.key, one.value, one.headers) for one in records]
        sent = await producer.send(messages)
        await producer.close()
        self.sent.update(one.topic for one in sent)
        return [(one.topic, one.partition, one.offset) for one in sent]

    async def command(self, *arguments: str, **environment: str) -> Ended:
        """Run a command to its end, in this environment besides its own."""
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, *arguments),
            env={**self._environment, **environment},
            cwd=self._directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate()
        return Ended(process.returncode, out.decode(), errors.decode())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Take what the workers write until the condition holds; fails when it does not come true."""
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                assert self._process is None or self._process.returncode is None, self.errors.read_text()
                if self._reader is not None:
                    self.landed.take(await self._reader.poll(0.1))

    async def known(self, federation: str, names: Collection[str]) -> None:
        """Wait until the health worker has told of all these instances."""
        async with asyncio.timeout(LIMIT_S):
            while not set(names) <= {one.instance_id for one in await list_instances(self.bus, federation)}:
                pass

    def look(self, page: str) -> str:
        """Return a page of the process: metrics, info, livez, readyz."""
        with urlopen(f"{self._address()}/{page}", timeout=LIMIT_S) as answer:  # noqa: S310  (our own)
            text: str = answer.read().decode()
        return text

    def accounts(self) -> Accounts:
        """Return what the process has counted up to now."""
        read, handled = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        refused, lettered = Counter[str](), Counter[str]()
        for family in text_string_to_metric_families(self.look("metrics")):
            for sample in family.samples:
                of, count = sample.labels, int(sample.value)
                if sample.name == "flc_records_read_total":
                    read[of["worker"], of["topic"]] += count
                elif sample.name == "flc_records_handled_total":
                    handled[of["worker"], of["topic"]] += count
                    refused[of["worker"]] += count if of["outcome"] == "dead_lettered" else 0
                elif sample.name == "flc_dead_letters_total":
                    lettered[of["worker"]] += count
        return Accounts(read, handled, refused, lettered)

    @property
    def peak_bytes(self) -> int:
        """The largest memory that the process ever had."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+([0-9]+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def _address(self) -> str | None:
        found = re.search(r"http://[0-9.]+:[0-9]+", self.errors.read_text())
        return None if found is None else found[0]


@asynccontextmanager
async def running(
    broker: str, directory: Path, federation: str, workers: Sequence[str] = RUNNING, **environment: str
) -> AsyncIterator[System]:
    """Run the workers while the block runs."""
    bus = KafkaBus(Settings(bootstrap_servers=broker, session_timeout_ms=6_000, _env_file=None))
    try:
        known = {"KAFKA_BOOTSTRAP_SERVERS": broker, **environment}
        async with System(bus, directory, federation, workers, **known) as system:
            yield system
    finally:
        await bus.close()


async def send_compressed(broker: str, codec: str, record: Record, value: bytes) -> Place:
    """Send a record whose batch is compressed, whatever it grows to."""
    size = len(value) + 65_536
    producer = AIOKafkaProducer(
        bootstrap_servers=broker, compression_type=codec, max_request_size=size, max_batch_size=size
    )
    await producer.start()
    try:
        sent = await producer.send_and_wait(
            record.topic,
            value,
            key=record.key,
            partition=record.partition,
            headers=list(record.headers),
        )
    finally:
        await producer.stop()
    return sent.topic, sent.partition, sent.offset
