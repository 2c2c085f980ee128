"""What runs in a worker's process: ``flc worker run``, obedient, behind a proxy if asked, perhaps sabotaged.

Nothing of this is in the product: it is put into the modules from outside, before they start.
"""

import asyncio
import sys
from typing import Any

from tests.faults import orders
from tests.faults.sabotage import SABOTAGES


def _dial(broker: int, proxy: int) -> None:
    """Connect to the proxy whenever the broker is meant, whatever address it advertises."""
    connect = asyncio.BaseEventLoop.create_connection

    async def dialled(self: Any, factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
        return await connect(self, factory, host, proxy if port == broker else port, **more)

    asyncio.BaseEventLoop.create_connection = dialled  # type: ignore[assignment, method-assign]


def main(broker: int, proxy: int, sabotage: str, *workers: str) -> None:
    """Run workers; ``proxy`` 0: none, ``sabotage`` "": none."""
    orders.obey()
    if proxy:
        _dial(broker, proxy)
    if sabotage:
        SABOTAGES[sabotage].apply()
    from flc.main import main as flc  # noqa: PLC0415  (behind what was changed)

    sys.argv = ["flc", "worker", "run", *workers]
    flc()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
