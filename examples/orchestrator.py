"""An orchestrator: another system in this process that is told what the federation has come to.

    uv run python examples/orchestrator.py

In any other process: flc subscribe --orchestrator orchestrator:ScalingOrchestrator. To have it found by every
integration, name it in your package's entry points: group convergence.orchestrators.
"""

import asyncio

from convergence import FederatedConvergenceIntegration
from schemas.convergence import RoundEvent


class ScalingOrchestrator:
    """Keeps the scores, and acts once everybody agrees."""

    def __init__(self) -> None:
        #: Written by the integration: federated_… after an update, global_… once converged.
        self.convergence_state: dict = {}
        self.acted = asyncio.Event()

    async def on_convergence(self, event: RoundEvent) -> None:
        """Take the public event; what raises or takes over a second here harms nobody."""
        print(f"{type(event).__name__}: {event.global_convergence}")
        if "global_convergence" in self.convergence_state:
            self.acted.set()


async def main() -> None:
    """Let two instances agree."""
    orchestrator = ScalingOrchestrator()
    pattern = {"pattern_id": "p", "pattern_type": "usage", "strength": 0.9, "epistemic_certainty": 0.95}
    async with FederatedConvergenceIntegration(orchestrators=[orchestrator]) as federation:
        for name in ("berlin", "paris"):
            await federation.register_instance(name, name, "eu-central-1")
            await federation.update_instance_convergence(name, [pattern])
        await federation.synchronize_all_instances()
        await orchestrator.acted.wait()
        print(federation.get_stats()["orchestrator_integrations"])
    for name, value in orchestrator.convergence_state.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    asyncio.run(main())
