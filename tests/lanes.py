"""Which tests stay together when `make test` runs in two processes, one for each core.

The tests of a file do, and so do all that share a Tor network that is started once for a run; those come
first, as they are the longest.
"""

from __future__ import annotations

from pathlib import PurePath

_SHARED = "network", "onion"


def lane(module: PurePath, fixtures: frozenset[str]) -> str:
    """Of a test module's path below `tests/` and the fixtures of a test in it."""
    if "network" not in fixtures or module.parts[0] == "experiments":
        return module.stem
    return "onion" if module.parts[0] == "onion" else "network"


def rank(name: str) -> int:
    """When a lane begins."""
    return _SHARED.index(name) if name in _SHARED else len(_SHARED)
