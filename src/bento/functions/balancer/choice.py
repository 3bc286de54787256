"""Ways to pick a replica among several that have room. Each is a few lines; add your own to `WAYS`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol


class Candidate(Protocol):
    """What a way may look at."""

    @property
    def number(self) -> int: ...
    @property
    def fill(self) -> float:
        """Visitors per place."""
        ...

    @property
    def uplink(self) -> float:
        """Bytes a second; 0 if not known."""
        ...

    @property
    def region(self) -> str:
        """Where it stands, in any words that visitors' rendezvous points are described in too."""
        ...


Way = Callable[[Sequence[Candidate], str, random.Random], Candidate]
"""(replicas, at least one; region of the visitor's rendezvous point; randomness) -> one of them."""


def least_loaded(replicas: Sequence[Candidate], region: str, rng: random.Random) -> Candidate:
    """The emptiest; the eldest of several."""
    return min(replicas, key=lambda replica: (replica.fill, replica.number))


def at_random(replicas: Sequence[Candidate], region: str, rng: random.Random) -> Candidate:
    """As OnionBalance spreads."""
    return rng.choice(replicas)


def by_weight(replicas: Sequence[Candidate], region: str, rng: random.Random) -> Candidate:
    """At random, in proportion to uplinks."""
    weights = [replica.uplink or 1.0 for replica in replicas]
    return rng.choices(replicas, weights)[0]


def nearest(replicas: Sequence[Candidate], region: str, rng: random.Random) -> Candidate:
    """The emptiest in the rendezvous point's region, or the emptiest of all.

    Nobody but the rendezvous point's place is known of a visitor, and it says little of where they are."""
    near = [replica for replica in replicas if region and replica.region == region]
    return least_loaded(near or replicas, region, rng)


WAYS: dict[str, Way] = {
    "load": least_loaded,
    "random": at_random,
    "weight": by_weight,
    "region": nearest,
}
