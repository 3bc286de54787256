"""What one function has on other boxes, and what it may still have there. Pure, but for the clock.

A child costs one place and as many more as its own manifest asks for: so a whole tree, however deep,
never has more instances than its root's manifest names. Nothing in it may be meant to outlive the
function, and each child has a lease, so that nothing does where word of the end cannot reach it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bento.errors import PolicyError
from bento.protocol import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bento.box.asked import Asked
    from bento.tor.boxes import RelayEntry

_SLACK = 5.0  # seconds that another box may be late in ending what nobody renewed


class Kept(NamedTuple):
    """What a restarted bentod must know of a child: neither its box nor what ends it."""

    name: bytes
    cost: int
    lease: int  # seconds


@dataclass(eq=False)
class Child:
    """`cost` is in places. `token` may end it; `entry` is its box and `user` the circuit it is reached by.
    Of one that an earlier bentod knew these come with its next renewal."""

    cost: int
    lease: int
    ends: float  # seconds since 1970: it is not counted after this
    entry: RelayEntry | None = None
    user: str = ""
    token: bytes = field(default=b"", repr=False)


class Children:
    """Of a function that may have `most` and ends at `expires` (seconds since 1970); `earlier` are those
    that an earlier bentod knew of."""

    def __init__(
        self,
        most: int,
        expires: int,
        clock: Callable[[], float] = time.time,
        earlier: Iterable[Kept] = (),
    ) -> None:
        self._most = most
        self._expires = expires
        self._clock = clock
        self._wanted: list[Child] = []
        self._by_name: dict[bytes, Child] = {}
        for name, cost, lease in earlier:
            child = self._by_name[name] = Child(cost, lease, 0.0)
            child.ends = self._end_of(child)

    def __iter__(self) -> Iterator[Child]:
        """Those whose box is known."""
        return iter([one for one in self._by_name.values() if one.entry is not None])

    @property
    def kept(self) -> list[Kept]:
        """For the journal."""
        return [Kept(name, one.cost, one.lease) for name, one in self._by_name.items()]

    @property
    def left(self) -> int:
        """Places that are free now."""
        now = self._clock()
        self._by_name = {name: one for name, one in self._by_name.items() if one.ends > now}
        return self._most - sum(one.cost for one in (*self._wanted, *self._by_name.values()))

    def want(self, asked: Asked, entry: RelayEntry, user: str) -> Child:
        """Places for a child, until `cancel` or `began`. Raises PolicyError naming everything that goes
        beyond what is left."""
        cost, left = asked.places, self.left
        seconds = int(self._expires - self._clock())
        problems = []
        if cost > left:
            problems.append(f"{cost} places (its own and its children's): {max(left, 0)} are left")
        if asked.lifetime > seconds:
            problems.append(f"lifetime {asked.lifetime} s: {max(seconds, 0)} s are left")
        if not asked.lease:
            problems.append(f'no lease: write lease = "{limits.LEASE}s"')
        if asked.lease > limits.LEASE_MOST:
            problems.append(f"lease {asked.lease} s: at most {limits.LEASE_MOST} s")
        if problems:
            raise PolicyError(
                "the child asks for more than its parent has: " + "; ".join(problems),
                "ask for less, or end other children first",
            )
        child = Child(cost, asked.lease, float("inf"), entry, user)
        self._wanted.append(child)
        return child

    def cancel(self, child: Child) -> None:
        """There is no such child after all."""
        self._wanted.remove(child)

    def began(self, child: Child, name: bytes, token: bytes) -> None:
        """Its box gave it a place; `name` is what its tokens have in common."""
        self._wanted.remove(child)
        child.token = token
        child.ends = self._end_of(child)
        self._by_name[name] = child

    def renew(self, name: bytes, token: bytes, entry: RelayEntry, user: str) -> None:
        """It is about to be renewed. One that is not known was begun elsewhere, and counts.
        Raises PolicyError when there is no place for it."""
        child = self._by_name.get(name)
        if child is None:
            if self.left < 1:
                raise PolicyError("the function keeps more children than its manifest names")
            child = self._by_name[name] = Child(1, limits.LEASE_MOST, 0.0)
        if not child.token:
            child.entry, child.user, child.token = entry, user, token
        child.ends = self._end_of(child)

    def ended(self, name: bytes) -> None:
        """Its box says that there is no such instance."""
        self._by_name.pop(name, None)

    def get(self, name: bytes) -> Child | None:
        """The child of which `name` is what its tokens have in common."""
        return self._by_name.get(name)

    def _end_of(self, child: Child) -> float:
        return min(self._clock() + child.lease, self._expires) + _SLACK
