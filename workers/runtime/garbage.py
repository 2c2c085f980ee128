"""How often Python looks for cyclic garbage in a process that runs workers."""

import gc

#: Objects that come to be, beyond those that go, before the youngest are looked at; Python's own is 700. Then
#: the elder ones after 20 times as many, and so on.
_THRESHOLDS = (20_000, 20, 20)


def collect_rarely() -> None:
    """Look for cycles rarely, and never in what has been imported.

    A state is hundreds of thousands of objects without a cycle, and a fetch makes as many in a moment: to
    look through them took a quarter of the time of a restore.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
