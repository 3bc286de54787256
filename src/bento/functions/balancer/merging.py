"""One descriptor out of several onion services' own, as C-tor alone can balance (OnionBalance's way). Pure.

Each instance is an onion service of C-tor's with a key of its own, which knows the service's address
(`HiddenServiceOnionBalanceInstance 1`, and `MasterOnionAddress` in its `ob_config`) and so understands
introductions that were made for it. What visitors find under the service's address are the instances'
introduction points, side by side: each visitor picks one at random, and with it an instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from bento.errors import UsageError
from bento.onion.blinding import public_from_address
from bento.onion.descriptor import MAX_INTRODUCTION_POINTS, DescriptorPlan, PublishedPoint
from bento.onion.descriptor_reader import Descriptor

MAX_INSTANCES = 10
"""Two introduction points of each fill a descriptor: one alone would be lost with its relay."""

MISSES = 3
"""An instance is left out when it was not found so many times in a row."""


@dataclass
class Instance:
    """One service. `had`: its descriptor, while it counts; `missed`: looks in vain since the last one."""

    address: str
    had: Descriptor | None = None
    missed: int = 0
    seconds: float = 0.0


def addresses_of(words: Iterable[str]) -> tuple[str, ...]:
    """Checked, in small letters, without `.onion`. Raises UsageError."""
    found = [word.lower().removesuffix(".onion") for word in words]
    for address in found:
        public_from_address(address)
    if not 0 < len(found) <= MAX_INSTANCES or len(set(found)) < len(found):
        raise UsageError(f"a service is merged out of 1 to {MAX_INSTANCES} different instances")
    return tuple(found)


class Merger:
    """What is known of the instances."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.instances = {address: Instance(address) for address in addresses}

    def learned(self, address: str, descriptor: Descriptor) -> None:
        instance = self.instances[address]
        instance.had, instance.missed = descriptor, 0

    def missed(self, address: str) -> None:
        instance = self.instances[address]
        instance.missed += 1
        if instance.missed >= MISSES:
            instance.had = None

    @property
    def settled(self) -> bool:
        """Whether each instance was found or given up: visitors keep the first descriptor they get."""
        return all(i.had is not None or i.missed >= MISSES for i in self.instances.values())

    def passed(self, seconds: float) -> None:
        """So long they served: their replica-seconds."""
        for instance in self._serving():
            instance.seconds += seconds

    def plan(self) -> DescriptorPlan:
        """All points that fit, the first of each instance first; empty when no instance is there."""
        known = [i.had for i in self._serving() if i.had is not None]
        paces = {descriptor.sendme_increment for descriptor in known}
        return DescriptorPlan(
            _spread([descriptor.points for descriptor in known]),
            sendme_increment=paces.pop() if len(paces) == 1 else None,
            single_onion=bool(known) and all(descriptor.single_onion for descriptor in known),
        )

    def _serving(self) -> list[Instance]:
        return [i for i in self.instances.values() if i.had is not None and i.had.points]


def _spread(points: Sequence[Sequence[PublishedPoint]]) -> tuple[PublishedPoint, ...]:
    turns = chain.from_iterable(zip_longest(*points))
    return tuple(point for point in turns if point is not None)[:MAX_INTRODUCTION_POINTS]
