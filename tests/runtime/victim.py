"""A toy worker on a real Kafka, to be killed: ``python -m tests.runtime.victim ADDRESS LETTERS``."""

import asyncio
import sys
from typing import ClassVar

from schemas.topics import Topics
from tests.runtime.toys import Adder, topics
from workers.runtime import logs
from workers.runtime.kafka import KafkaBus
from workers.runtime.supervisor import Process
from workers.settings import Settings


def adder(letters: str) -> tuple[type[Adder], Topics]:
    """Return an adder with a name and topics of its own, and their declaration."""

    class Unique(Adder):
        name = f"adder-{letters}"
        inputs: ClassVar[tuple[str, ...]] = (f"flc.numbers-{letters}.v1",)
        outputs: ClassVar[tuple[str, ...]] = (f"flc.sums-{letters}.v1",)

    return Unique, topics(2, (*Unique.inputs, *Unique.outputs))


async def _main(address: str, letters: str) -> None:
    kind, declared = adder(letters)
    settings = Settings(bootstrap_servers=address, session_timeout_ms=6_000)
    async with Process(KafkaBus(settings), [kind], settings, topics=declared) as process:
        await process.run(asyncio.Event())


if __name__ == "__main__":
    logs.configure("error")
    asyncio.run(_main(*sys.argv[1:]))
