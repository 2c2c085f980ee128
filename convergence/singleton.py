"""The one integration of a process, for those who need no second."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convergence.integration import FederatedConvergenceIntegration


@cache
def get_federated_convergence_integration() -> "FederatedConvergenceIntegration":
    """Return the integration of this process: always the same, made with its defaults at the first call."""
    from convergence.integration import FederatedConvergenceIntegration  # noqa: PLC0415  (what it costs, now)

    return FederatedConvergenceIntegration()
