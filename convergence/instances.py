"""The instances of a federation as it sees them: flc.health.v1 at its present end."""

from convergence.errors import UnknownInstance
from convergence.events import read
from convergence.topics import everything, partition_of
from schemas.health import InstanceHealth
from workers.runtime.port import Bus


async def list_instances(bus: Bus, federation: str) -> list[InstanceHealth]:
    """Return the instances that are not deregistered, by id."""
    partition = await partition_of(bus, InstanceHealth.topic, federation)
    prefix = f"{federation}/".encode()
    health: dict[bytes, InstanceHealth] = {}
    async for record in everything(bus, (partition,)):
        key = record.key or b""
        if not key.startswith(prefix):
            continue
        event = read(record, InstanceHealth)
        if event is not None:
            health[key] = event
        elif record.value is None:
            health.pop(key, None)
    return [health[key] for key in sorted(health)]


async def show_instance(bus: Bus, federation: str, instance_id: str) -> InstanceHealth:
    """Return one instance; raises UnknownInstance."""
    for health in await list_instances(bus, federation):
        if health.instance_id == instance_id:
            return health
    raise UnknownInstance(f"nothing is known of {federation}/{instance_id}")
