"""How many visitors will have come by the time that a replica started now is up. Pure."""

from __future__ import annotations

from collections import deque

_FIRST_GUESS = 3.0
"""Seconds a start takes, before one was seen: sandbox, code and content over Tor, a directory."""

_SHORTEST, _LONGEST = 1.0, 15.0
"""Seconds looked ahead, at least and at most: a start that was slow once says nothing of the crowd."""


class Trend:
    """As many more come during a start as came during the last such time beyond those who went; but one
    visitor alone is no trend."""

    def __init__(self) -> None:
        self._ahead = _FIRST_GUESS
        self._seen: deque[tuple[float, int]] = deque()

    def took(self, seconds: float) -> None:
        """A replica was up after so long."""
        self._ahead = min(_LONGEST, max(_SHORTEST, (self._ahead + seconds) / 2))

    def coming(self, demand: int, now: float) -> int:
        """Of visitors, with `demand` of them here now."""
        while len(self._seen) > 1 and self._seen[1][0] <= now - self._ahead:
            self._seen.popleft()
        if not self._seen or self._seen[-1] != (now, demand):
            self._seen.append((now, demand))
        when, before = self._seen[0]
        return max(0, demand - (before if when <= now - self._ahead else 0) - 1)
