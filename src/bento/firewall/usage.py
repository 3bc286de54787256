"""What a function really used of tor: the source of the manifest line that `record` mode writes."""

from __future__ import annotations

from collections import deque

from bento.firewall.permissions import PERMISSIONS, RECORD, Grants

_MINUTE = 60.0


class Usage:
    """The largest number of each permission that was in use at once, or within a minute."""

    def __init__(self) -> None:
        self._peaks: dict[str, int] = {}
        self._recent: dict[str, deque[tuple[float, int]]] = {}
        self._sums: dict[str, int] = {}

    def level(self, permission: str, number: int = 1) -> None:
        """`number` objects of this permission are open now."""
        self._peaks[permission] = max(self._peaks.get(permission, 1), number)

    def spend(self, permission: str, amount: int, now: float) -> None:
        """`amount` was used of a permission that counts by the minute."""
        recent = self._recent.setdefault(permission, deque())
        recent.append((now, amount))
        total = self._sums.get(permission, 0) + amount
        while recent[0][0] <= now - _MINUTE:
            total -= recent.popleft()[1]
        self._sums[permission] = total
        self.level(permission, total)

    def grants(self) -> Grants:
        """The smallest line that would have allowed all of it, in the order of the table."""
        return Grants(
            {
                name: min(self._peaks[name], permission.most)  # 0 where nothing is counted
                for name, permission in PERMISSIONS.items()
                if name in self._peaks and name != RECORD
            }
        )
