"""The bare relay: the same bytes over the same number of hops, exactly once, and nothing else.

    python -m benchmarks.relay BOOTSTRAP SOURCE [TARGET] [--verify]

With a TARGET it stands where the privacy worker stands: it reads reports and writes them, unchanged, in
transactions that carry its offsets. Without one it stands where the aggregation worker stands: it keeps the
last value of each key in memory and commits its offsets in transactions. Written as well as aiokafka allows,
with whole fetches and whole batches. It answers each line on its standard input with the number of records
that it has settled.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from schemas import signing
from schemas.event import Inbound
from schemas.reports import PatternReport

#: Of a producer: as the product's own.
BATCH_BYTES = 256 * 1024
REQUEST_BYTES = 1_114_112

#: Seconds between transactions: back to back each costs 20 ms, for the broker still writes the markers of the
#: last one.
GAP_S = 0.015


class Relay:
    """One hop."""

    def __init__(self, bootstrap: str, source: str, target: str | None, *, verifies: bool) -> None:
        self.settled = 0
        self._target = target
        self._verifies = verifies
        self._kept: dict[bytes | None, bytes | None] = {}
        self._group = f"relay.{source}"
        self._consumer = AIOKafkaConsumer(
            source,
            bootstrap_servers=bootstrap,
            group_id=self._group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            transactional_id=self._group,
            max_batch_size=BATCH_BYTES,
            max_request_size=REQUEST_BYTES,
        )

    async def run(self) -> None:
        """Relay until cancelled."""
        async with self._producer, self._consumer:
            while True:
                fetched = await self._consumer.getmany(timeout_ms=500)
                for records in fetched.values() if self._verifies else ():
                    await asyncio.to_thread(verify, records)
                if fetched:
                    await self._commit(fetched)
                    await asyncio.sleep(GAP_S)

    async def _commit(self, fetched: dict[Any, list[Any]]) -> None:
        async with self._producer.transaction():
            sent = []
            for at, records in fetched.items():
                if self._target is None:
                    self._kept.update((record.key, record.value) for record in records)
                    continue
                for batch in self._batches(records):
                    sent.append(  # noqa: PERF401  (there is nothing asynchronous to extend with)
                        await self._producer.send_batch(batch, self._target, partition=at.partition)
                    )
            await asyncio.gather(*sent)
            offsets = {at: records[-1].offset + 1 for at, records in fetched.items()}
            await self._producer.send_offsets_to_transaction(offsets, self._group)
        self.settled += sum(map(len, fetched.values()))

    def _batches(self, records: Sequence[Any]) -> Iterator[BatchBuilder]:
        batch = self._producer.create_batch()
        for record in records:
            headers = list(record.headers)
            message = {"timestamp": None, "key": record.key, "value": record.value, "headers": headers}
            if batch.append(**message) is None:
                batch.close()
                yield batch
                batch = self._producer.create_batch()
                batch.append(**message)
        batch.close()
        yield batch


def verify(records: Sequence[Any], event: type[Inbound] = PatternReport) -> None:
    """Verify the signature of each record, as a worker must; raises ValueError for a wrong one."""
    for record in records:
        headers = dict(record.headers)
        key, signature = headers[signing.KEY_HEADER].decode(), headers[signing.SIGNATURE_HEADER]
        if not signing.verify(key, signature, event.__name__, event.topic, record.value):
            raise ValueError(f"{record.key!r}: a wrong signature")


async def serve(relay: Relay) -> None:
    """Relay until the standard input ends; each of its lines is answered."""
    asked = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(relay.run())
        while await asked.readline():
            print(relay.settled, flush=True)
        running.cancel()


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bootstrap")
    parser.add_argument("source")
    parser.add_argument("target", nargs="?")
    parser.add_argument("--verify", action="store_true")
    chosen = parser.parse_args()

    async def relay() -> None:
        await serve(Relay(chosen.bootstrap, chosen.source, chosen.target, verifies=chosen.verify))

    asyncio.run(relay())


if __name__ == "__main__":
    main()
