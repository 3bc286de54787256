"""Python's garbage is collected in every slot, a little, and never at another moment.

By itself Python collects once so many objects were made: sooner when there is something to do, and now and
then for longer than a slot has. What was there before Cover began is left out, so that a collection takes a
few microseconds.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def left_to_slots() -> Iterator[None]:
    """Whoever is within calls `gc.collect` once in each slot."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
