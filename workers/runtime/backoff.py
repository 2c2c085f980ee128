"""How long to wait before trying again what failed."""

import random
from collections.abc import Callable

from workers.runtime.clock import Clock, sleep

#: The first wait, in seconds; each further one is twice as long …
FIRST_S = 0.1

#: … up to this. What ran longer than this before it failed starts from the first wait again.
LONGEST_S = 10.0


class Backoff:
    """Growing waits with jitter, so that siblings that failed together do not come back together."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self.delay_s = 0.0

    def failed_after(self, ran_s: float) -> None:
        """Take note of a failure after a run of ``ran_s``."""
        self._failures = 1 if ran_s > LONGEST_S else self._failures + 1
        longest = min(LONGEST_S, FIRST_S * 2 ** min(self._failures - 1, 16))
        self.delay_s = longest * random.uniform(0.5, 1.0)  # noqa: S311  (no secret)

    async def sleep(self, alive: Callable[[], None]) -> None:
        """Wait; ``alive`` is called when it is over, for waiting is not being stuck."""
        await sleep(self._clock, self.delay_s)
        alive()
