"""A deployment: every minute it reports what it has learned, and applies what the federation shares.

    KAFKA_BOOTSTRAP_SERVERS=… uv run python examples/deployment.py shop-eu-1 acme

It sends heartbeats and answers synchronizations by itself, for as long as it runs.
"""

import asyncio
import sys
from collections.abc import Callable

from convergence import AggregatedPattern, ConvergenceError, FederatedConvergenceIntegration


def learn() -> list[dict]:
    """Return everything that is held now; yours comes from what your product observes."""
    observed = {"checkout": 0.93, "search": 0.88, "login": 0.91}
    return [
        {
            "pattern_id": f"slow-{module}",
            "pattern_type": "latency",
            "strength": strength,
            "epistemic_certainty": 0.95,
            "modules": [module],
            "event_types": ["timeout"],
        }
        for module, strength in observed.items()
    ]


def apply(library: dict[str, AggregatedPattern]) -> None:
    """Use what the federation shares; yours may tune its time-outs by it."""
    for pattern in library.values():
        print(f"{pattern.pattern_type} {pattern.pattern_id[:8]}: strength {pattern.average_strength}")


async def deploy(name: str, organisation: str, every_s: float = 60.0, use: Callable = apply) -> None:
    """Report and apply, until cancelled."""
    async with FederatedConvergenceIntegration() as federation:
        await federation.register_instance(name, name, "eu-central-1", {"organisation": organisation})
        federation.start_auto_sync()
        while True:
            try:
                result = await federation.update_instance_convergence(name, learn())
                print(f"{result.metadata['outcome']}: convergence {result.convergence_score}")
            except ConvergenceError as error:  # no answer in time, say: the next report says the same
                print(error, file=sys.stderr)
            use(federation.federated_learning.get_global_pattern_library())
            await asyncio.sleep(every_s)


if __name__ == "__main__":
    asyncio.run(deploy(*sys.argv[1:3]))
