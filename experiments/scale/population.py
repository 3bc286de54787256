"""A population of relays: of any tor's `cached-consensus`, or made to the shape of the public network.

The shape is that of the consensus of 2022-11-19 10:00 UTC: for relays without flags, guards, exits and
both, how many there were and the quantiles of their consensus weights (in KB/s). Nothing else of it is kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.scale.fluid import Floats, Ints

Flags = NDArray[np.bool_]

_TABLE = """\
level 0 0.02 0.05 0.1 0.15 0.2 0.25 0.3 0.35 0.4 0.45 0.5 0.55 0.6 0.65 0.7 0.75 0.8 0.85 0.9 \
0.95 0.98 0.995 1
neither 2634 1 2 8 31 85 140 230 300 410 590 880 1300 1800 3400 5900 9700 13000 19000 28000 \
41000 60000 86340 110000 190000
guard 2026 390 1500 2000 2700 3300 4100 5000 6000 7300 8700 10000 12000 14000 15000 16250 19000 \
23000 27000 31000 38000 53000 68500 87000 130000
exit 434 1 7 57 340 590 978 1400 2300 4300 6100 7685 9700 12000 14000 17000 21100 28000 33000 \
38000 43000 54350 67340 89835 130000
both 994 930 2100 2700 4100 5700 7400 8700 9880 11000 12000 13000 14500 16000 18000 21000 24000 \
27000 30000 35000 45700 59350 73140 100000 180000
"""
"""Levels; then for each kind of relay how many there were, and their weights at these levels."""

_KINDS = {
    "neither": (False, False),
    "guard": (True, False),
    "exit": (False, True),
    "both": (True, True),
}


def _shape() -> tuple[list[float], dict[tuple[bool, bool], tuple[int, list[float]]]]:
    """Levels, and (guard, exit) -> (relays, weights)."""
    levels, *kinds = (line.split() for line in _TABLE.splitlines())
    found = {_KINDS[name]: (int(count), [*map(float, rest)]) for name, count, *rest in kinds}
    return [float(level) for level in levels[1:]], found


_LEVELS, _SHAPE = _shape()


@dataclass(frozen=True)
class Population:
    """Relays by number. `weight` in KB/s, `guard` and `exit` as flagged; shape (R,) each."""

    weight: Floats
    guard: Flags
    exit: Flags

    def __len__(self) -> int:
        return len(self.weight)

    def pick(self, rng: np.random.Generator, count: int, *, guard: bool = False) -> Ints:
        """`count` relays, by weight; guards, or middles: others than exits, which are kept for exiting
        unless a network has nothing else."""
        wanted = self.guard if guard else np.ones(len(self), dtype=np.bool_)
        usable = wanted & ~self.exit
        usable = usable if usable.any() else wanted
        weight = np.where(usable, self.weight, 0)
        return rng.choice(len(self), size=count, p=weight / weight.sum())


def synthetic(rng: np.random.Generator, relays: int = 6088) -> Population:
    """Of the public network's shape, with `relays` relays: log-linear between the quantiles."""
    weights, guards, exits = [], [], []
    total = sum(count for count, _ in _SHAPE.values())
    for (guard, leaves), (count, quantiles) in _SHAPE.items():
        size = max(1, round(count * relays / total))
        levels = (np.arange(size) + rng.random(size)) / size
        weights.append(np.exp(np.interp(levels, _LEVELS, np.log(quantiles))))
        guards.append(np.full(size, guard))
        exits.append(np.full(size, leaves))
    return Population(np.concatenate(weights), np.concatenate(guards), np.concatenate(exits))


def read_consensus(path: Path) -> Population:
    """The relays of a consensus, of either flavour (dir-spec 3.4.1): Running ones with a weight.

    Raises ValueError when there are none."""
    text = path.read_text(errors="replace")
    weights, guards, exits = [], [], []
    for flags, weight in re.findall(r"^s (.*)\n(?:.*\n)*?w Bandwidth=(\d+)", text, re.MULTILINE):
        known = set(flags.split())
        if "Running" in known and int(weight):
            weights.append(float(weight))
            guards.append("Guard" in known)
            exits.append("Exit" in known and "BadExit" not in known)
    if not any(guards):
        raise ValueError(f"{path} lists no running guards: is it a consensus?")
    return Population(np.array(weights), np.array(guards), np.array(exits))


def read_table(path: Path) -> Population:
    """A table of `weight_kb_s,guard,exit,…` lines, as the shape was made from."""
    rows = [line.split(",") for line in path.read_text().splitlines() if line[:1].isdigit()]
    weight = np.array([float(row[0]) for row in rows])
    guard, leaves = (np.array([row[at] == "1" for row in rows]) for at in (1, 2))
    return Population(np.maximum(weight, 1), guard, leaves)


def distance(one: Population, other: Population) -> float:
    """How far two populations are apart: the largest difference of the cumulated weights of any of the four
    kinds of relay (a Kolmogorov-Smirnov distance, 0 to 1), or of a kind's share of all weight."""
    worst = 0.0
    for guard, leaves in _SHAPE:
        a, b = (np.sort(p.weight[(p.guard == guard) & (p.exit == leaves)]) for p in (one, other))
        points = np.concatenate([a, b])
        cumulated = [np.searchsorted(x, points, side="right") / len(x) for x in (a, b)]
        worst = max(worst, float(np.abs(cumulated[0] - cumulated[1]).max()))
        worst = max(worst, abs(a.sum() / one.weight.sum() - b.sum() / other.weight.sum()))
    return worst
