"""The quick start: three instances learn together and synchronize.

    uv run python examples/quick_start.py

With nothing configured everything runs in this process; with KAFKA_BOOTSTRAP_SERVERS, on your broker. In a
notebook, `await main()`.
"""

import asyncio
import json

from convergence import get_federated_convergence_integration


def learned(instance: int) -> list[dict]:
    """Return what an instance holds: all see the same patterns, each a little differently."""
    return [
        {
            "pattern_id": f"pattern-{place}",
            "pattern_type": "positive",
            "strength": 0.90 + 0.01 * instance,
            "resonance": 0.85,
            "frequency": 10,
            "modules": [f"module-{place}"],
            "event_types": ["timeout"],
            "epistemic_certainty": 0.95,
        }
        for place in range(10)
    ]


async def main() -> None:
    """Register, report, synchronize, look."""
    integration = get_federated_convergence_integration()
    for number in range(3):
        name = f"instance-{number}"
        await integration.register_instance(name, f"Production {number}", "eu-central-1")
        result = await integration.update_instance_convergence(name, learned(number))
        print(f"{name}: convergence {result.convergence_score}, {result.patterns_aggregated} shared patterns")
    synchronization = await integration.synchronize_all_instances()
    print(f"converged: {synchronization['convergence_achieved']}")
    score = await integration.get_global_convergence_score()
    print(json.dumps(score.to_dict(), indent=2))
    await integration.close()


if __name__ == "__main__":
    asyncio.run(main())
