"""How an attack is judged: folds, intervals, and what the size alone gives away. Pure."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from experiments.fingerprinting.store import Visit

Ints = NDArray[np.intp]

Z95 = 1.959964
MOST_FOLDS = 5


def wilson(hits: int, of: int, z: float = Z95) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if not of:
        return 0.0, 1.0
    share, weight = hits / of, z * z / of
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / of + weight / (4 * of)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def folds(rounds: Sequence[int]) -> Iterator[tuple[Ints, Ints]]:
    """(training, test) by whole rounds: what was visited in the same minutes, on a machine in the same
    mood, is never on both sides; each round is in one test."""
    numbers = sorted(set(rounds))
    count = min(MOST_FOLDS, len(numbers))
    fold_of = {number: place % count for place, number in enumerate(numbers)}
    fold = np.array([fold_of[number] for number in rounds])
    for each in range(count):
        yield np.flatnonzero(fold != each), np.flatnonzero(fold == each)


def bound(visits: Iterable[Visit], seen: Callable[[Visit], Hashable]) -> float:
    """The share of visits that nobody can do better than who knows of each only what `seen` gives, and what
    that is for every visit to every site. Sites are equally likely, as in the attacks."""
    sites: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for visit in visits:
        sites[seen(visit)][visit.site] += 1
    best = sum(counter.most_common(1)[0][1] for counter in sites.values())
    return best / max(1, sum(counter.total() for counter in sites.values()))


def swapped(visits: Sequence[Visit], seen: Callable[[Visit], Hashable], seed: int) -> list[Visit]:
    """The visits with their sites dealt out anew among those of one round that look alike to `seen`: what
    an attack reaches on them is what it owes to `seen` and to luck."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for place, visit in enumerate(visits):
        groups[visit.number, seen(visit)].append(place)
    dealt, cards = list(visits), random.Random(seed)
    for places in groups.values():
        for place, other in zip(places, cards.sample(places, len(places)), strict=True):
            dealt[place] = replace(visits[place], site=visits[other].site)
    return dealt


def alike(visits: Iterable[Visit], cases: Sequence[str], least_sites: int) -> list[Visit]:
    """Those visits of which every case is there, for the same sites in every round.

    A round with fewer than `least_sites` whole sites does not count; then a site that lacks one of the
    rounds does not."""
    found: dict[tuple[str, int], dict[str, Visit]] = defaultdict(dict)
    for visit in visits:
        found[visit.site, visit.number][visit.case] = visit
    whole = {key for key, of_case in found.items() if set(cases) <= set(of_case)}
    in_round = Counter(number for _, number in whole)
    rounds = {number for number, sites in in_round.items() if sites >= least_sites}
    of_site = Counter(site for site, number in whole if number in rounds)
    kept = {site for site, count in of_site.items() if count == len(rounds)}
    return [
        found[site, number][case]
        for site, number in sorted(whole)
        if site in kept and number in rounds
        for case in cases
    ]
