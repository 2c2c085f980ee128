"""A batch that cannot be decoded: found, and passed without losing what stands before it.

When a decoder or the CRC check raises, aiokafka drops what this poll has collected of any partition, and yet
moves the positions on; then it fetches the same batch for ever. It does not say which batch it was. So the
positions are set back, what precedes the batch is read one by one, and an error of its own names the batch.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as KafkaPartition

from workers.runtime.port import Corrupt, TopicPartition

#: Milliseconds to wait for a batch that is known to be there: a long poll may be under way.
_REFETCH_MS = 2_000

#: The function of aiokafka that goes through the batches of a fetch; its frame knows the batch.
_UNPACKING = "_unpack_records"


class Undecodable(NamedTuple):
    """A batch that raised when it was decoded."""

    partition: KafkaPartition
    next_offset: int
    why: str


def undecodable(error: BaseException) -> Undecodable | None:
    """Return the batch whose decoding raised ``error``; None if it comes from elsewhere."""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == _UNPACKING and "next_batch" in frame.f_locals:
            why = str(error) or type(error).__name__
            return Undecodable(frame.f_locals["tp"], frame.f_locals["next_batch"].next_offset, why)
        trace = trace.tb_next
    return None


async def before_the_batch(
    consumer: AIOKafkaConsumer,
    batch: Undecodable,
    before: Mapping[KafkaPartition, int],
    max_records: int,
) -> dict[KafkaPartition, list[ConsumerRecord[Any, Any]]]:
    """Return the records from the positions ``before`` up to the batch; raises Corrupt if there are none."""
    _set_back(consumer, before)
    records: list[ConsumerRecord[Any, Any]] = []
    reached: Exception | None = None
    try:
        while reached is None and len(records) < max_records:
            try:
                fetched = await consumer.getmany(batch.partition, timeout_ms=_REFETCH_MS, max_records=1)
            except Exception as error:
                if undecodable(error) is None:
                    raise
                reached = error
            else:
                if not fetched:
                    break
                records += fetched[batch.partition]
    except BaseException:
        _set_back(consumer, before)
        raise
    offset = records[-1].offset + 1 if records else before[batch.partition]
    _set_back(consumer, {batch.partition: offset})  # drops the half-read fetch
    if reached is not None and not records:
        raise Corrupt(TopicPartition(*batch.partition), offset, batch.why, batch.next_offset) from reached
    return {batch.partition: records} if records else {}


def _set_back(consumer: AIOKafkaConsumer, before: Mapping[KafkaPartition, int]) -> None:
    for partition in consumer.assignment() & before.keys():
        consumer.seek(partition, before[partition])
