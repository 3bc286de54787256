"""When a link is read at once, and when its cells are left to gather for a moment.

Under load relays send a cell or two at a time, and each read costs a turn of the loop, of TLS and of
every layer, whether it brings one cell or thirty: half of a sender's processor time went into reading
single acknowledgements. So a crowded link is read every 16 ms. C-tor makes cells wait in the same way, on
the way out (KIST: 10 ms); a calm link, and the few turns of a circuit being built, do not wait at all.
"""

from __future__ import annotations

GATHER_SECONDS = 0.016
SPAN_SECONDS = 0.05
CALM_READS = 6  # in one span: two circuits being built next to each other


class Crowding:
    """Counts the reads of one link. Pure: the caller has the clock (seconds)."""

    def __init__(self) -> None:
        self._since = self._crowded_until = -SPAN_SECONDS
        self._reads = 0

    def read(self, now: float) -> bool:
        """Something was read; whether to wait `GATHER_SECONDS` before the next time."""
        if now >= self._crowded_until and now - self._since >= SPAN_SECONDS:
            self._since, self._reads = now, 0
        self._reads += 1
        if now < self._crowded_until or self._reads > CALM_READS:
            self._crowded_until = now + SPAN_SECONDS
            return True
        return False
