"""How much Python looks through for cyclic garbage in a process that runs workers."""

import gc


def collect_less() -> None:
    """Never look again through what has been imported: a hundred thousand objects that stay.

    How often the others are looked through remains Python's choice: what a refused report leaves behind has
    cycles, and is large.
    """
    gc.collect()
    gc.freeze()
