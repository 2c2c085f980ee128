"""What the load expects of the records that it spoils holds whatever else happens."""

import asyncio

from schemas.instances import InstanceRegistered
from schemas.topics import load
from tests.faults.load import Load
from workers.runtime.memory import Log, MemoryBus
from workers.runtime.port import TopicDescription


async def test_keys_that_are_changed_at_once_are_changed_one_after_the_other_and_stay_revoked() -> None:
    topics = load().declared.values()
    log = Log()
    for topic in topics:
        log.create(TopicDescription(topic.name, topic.partitions, topic.replication, topic.configs))
    sending = Load(MemoryBus(log), "seed", 1.0, {topic.name: topic.partitions for topic in topics})

    await asyncio.gather(*(sending.change_key("north", "i00", overlap_s=0.0) for _ in range(2)))

    registered = [
        InstanceRegistered.model_validate_json(record.value or b"")
        for at in log.partitions_of([InstanceRegistered.topic])
        for record in log.records(at)
    ]
    of = [[(each.revoked, each.key) for each in one.public_keys] for one in registered]
    (first, second, third) = (key for _, key in (of[0][0], of[0][1], of[2][1]))
    assert of == [
        [(False, first), (False, second)],
        [(False, second), (True, first)],
        [(False, second), (False, third), (True, first)],
        [(False, third), (True, first), (True, second)],
    ]
