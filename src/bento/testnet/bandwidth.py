"""Gives every relay the same history of bandwidth, so that paths are chosen evenly.

With one authority nobody measures relays: the consensus takes what they say of themselves. In a
network of seconds that is 0 for most and 2 KB/s for one, which is then in every path, at times
twice, and relays refuse to extend a circuit back to the hop that it came from. Tor takes up its
history from the state file; with `MaxAdvertisedBandwidth` later traffic does not change it.
"""

from __future__ import annotations

import time
from pathlib import Path

RATE = 10_000_000
"""Bytes per second that every relay says it can do."""
_INTERVAL = 86_400  # seconds; tor's own (NUM_SECS_BW_SUM_INTERVAL)


def level(data_directory: Path) -> None:
    """Write that history into the state of a tor that is not running."""
    state = data_directory / "state"
    data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = state.read_text().splitlines() if state.exists() else []
    kept = [line for line in lines if not line.startswith(("BWHistoryRead", "BWHistoryWrite"))]
    state.write_text("\n".join([*kept, *_history("Read"), *_history("Write"), ""]))


def _history(direction: str) -> list[str]:
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    values = {
        "Ends": now,
        "Interval": str(_INTERVAL),
        "Values": str(RATE * _INTERVAL),
        "Maxima": str(RATE),
    }
    return [f"BWHistory{direction}{key} {value}" for key, value in values.items()]
