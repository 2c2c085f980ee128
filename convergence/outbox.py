"""The way out: one producer, one send at a time."""

import asyncio

from workers.runtime.port import Bus, Message, Producer


class Outbox:
    """Sends messages in the order in which they were handed in.

    A producer takes one send at a time, and one that failed is dead: the next send gets a new one. Errors of
    the bus are raised; whether the message arrived is then unknown, and to send it again is harmless.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._lock = asyncio.Lock()
        self._producer: Producer | None = None

    async def send(self, message: Message) -> None:
        """Send and wait for the acknowledgement."""
        async with self._lock:
            producer = self._producer or await self._bus.producer()
            self._producer = None  # and stays so if the send fails or is cancelled
            try:
                await producer.send([message])
            except BaseException:
                await producer.close()
                raise
            self._producer = producer

    async def close(self) -> None:
        """Release the producer."""
        async with self._lock:
            if self._producer is not None:
                producer, self._producer = self._producer, None
                await producer.close()
