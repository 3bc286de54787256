"""Can an observer tell blocks in which something is done from blocks in which nothing is?

Windows of a block are described by counts, gaps and lateness of the cells each way, and told apart by trees that
were trained on other pairs of blocks. Pairs lie beside each other in time, so that both kinds suffer what else
this machine does; windows of a pair depend on each other, so intervals are made of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PERCENTILES = (5, 25, 50, 75, 95)
FOLDS = 6


@dataclass(frozen=True)
class Verdict:
    """AUC with its 95 % interval, and how often chance alone gives pairs of blocks so far apart."""

    low: float
    auc: float
    high: float
    chance: float

    def __str__(self):
        return f"AUC {self.auc:.3f} [{self.low:.3f}, {self.high:.3f}], p = {self.chance:.4f}"


def read(path):
    """Cells of the busiest connection, which is the guard's: direction -> their times in seconds."""
    notes = np.loadtxt(path, dtype=np.int64, ndmin=2)
    cells = np.bincount(notes[:, 0], weights=notes[:, 3])
    notes = notes[notes[:, 0] == cells.argmax()]
    return {
        way: np.repeat(notes[notes[:, 2] == way, 1], notes[notes[:, 2] == way, 3]) / 1e9
        for way in (1, -1)
    }


def describe(times, late, begin, end):
    """Of the cells of one direction in one window: how many, their gaps, and how late in their slots."""
    first, last = np.searchsorted(times, (begin, end))
    gaps, lateness = np.diff(times[first:last]), late[first:last]
    if len(gaps) < 3:
        return np.array([last - first, *np.zeros(4 + 2 * len(PERCENTILES))])
    near = np.corrcoef(gaps[:-1], gaps[1:])[0, 1] if gaps[:-1].std() and gaps[1:].std() else 0.0
    together = (gaps < 1e-4).mean()
    return np.array([
        *(last - first, gaps.std(), near, together, np.abs(lateness).mean()),
        *np.percentile(gaps, PERCENTILES),
        *np.percentile(lateness, PERCENTILES),
    ])  # fmt: skip


def lateness(times, slot):
    """Of each cell against a clock with the slot's period, which anybody can set by looking: seconds,
    within half a slot of what is usual."""
    turns = np.exp(2j * np.pi * times / slot)
    return np.angle(turns / turns.mean()) / (2 * np.pi) * slot


def windows(cells, blocks, slot, width, skipped):
    """(features, whether active, number of the pair) of each window of `width` seconds; the first
    `skipped` of each block are left out, as what was begun before is still under way. `slot`: seconds."""
    late = {way: lateness(times, slot) for way, times in cells.items()}
    rows, active, pairs = [], [], []
    for number, (begin, is_active) in enumerate(blocks[:-1]):
        end = blocks[number + 1][0]
        for start in np.arange(begin + skipped, end - width, width):
            rows.append(
                np.concatenate([describe(cells[w], late[w], start, start + width) for w in (1, -1)])
            )
            active.append(is_active)
            pairs.append(number // 2)
    return np.array(rows), np.array(active, bool), np.array(pairs)


def idle_alone(rows, active, pairs):
    """The same of idle windows alone, every other block of which is called active: nothing is there to be
    told, whatever the machine did meanwhile."""
    kept = ~active & (pairs < (pairs.max() + 1) // 2 * 2)  # a pair of blocks has one idle one
    block = pairs[kept]
    turned = np.random.default_rng(1).integers(0, 2, len(block) + 1)[block // 2]
    return rows[kept], (block + turned) % 2 == 1, block // 2


def by_chance(rows, active, pairs, *, draws=8):
    """Mean and spread of the AUC when the two blocks of each pair change places at random and all trees are
    grown anew: what is found where nothing is to be told. The interval of a Verdict, which takes the trees as
    they are, is somewhat narrower than that."""
    rng = np.random.default_rng(2)
    turned = rng.integers(0, 2, (draws, pairs.max() + 1)) == 1
    found = [judge(rows, active ^ turn[pairs], pairs, trees=40, rounds=1).auc for turn in turned]
    return float(np.mean(found)), float(np.std(found, ddof=1))


def judge(rows, active, pairs, *, trees=100, rounds=2000, seed=1):
    """A Verdict."""
    rng = np.random.default_rng(seed)
    scores = np.empty(len(rows))
    folds = rng.permutation(pairs.max() + 1) % FOLDS
    for fold in range(FOLDS):
        test = folds[pairs] == fold
        forest = [_grow(rows[~test], active[~test], rng) for _ in range(trees)]
        scores[test] = np.mean([_ask(tree, rows[test]) for tree in forest], axis=0)
        scores[test] = scores[test].argsort().argsort() / max(1, test.sum() - 1)
    members = [np.flatnonzero(pairs == pair) for pair in range(pairs.max() + 1)]
    drawn = (
        np.concatenate([members[pick] for pick in rng.integers(0, len(members), len(members))])
        for _ in range(rounds)
    )
    low, high = np.quantile([_auc(scores[d], active[d]) for d in drawn], [0.025, 0.975])
    apart = np.array([scores[m][active[m]].mean() - scores[m][~active[m]].mean() for m in members])
    flips = rng.choice((-1, 1), (10_000, len(apart))) @ apart
    chance = (1 + (flips >= apart.sum()).sum()) / (1 + len(flips))
    return Verdict(float(low), _auc(scores, active), float(high), float(chance))


def _auc(scores, active):
    order = np.sort(scores[~active])
    below = np.searchsorted(order, scores[active], "left")
    upto = np.searchsorted(order, scores[active], "right")
    return float((below + upto).mean() / 2 / max(1, order.size))


# -- extremely randomised trees (Geurts, Ernst, Wehenkel 2006) ------------------------------------

_LEAF = 8
_TRIES = 5


def _grow(rows, active, rng, depth=12):
    """(feature, threshold, below, above), or the share of active ones in a leaf."""
    if depth == 0 or len(active) < 2 * _LEAF or active.all() or not active.any():
        return float(active.mean()) if len(active) else 0.5
    best = None
    for feature in rng.integers(0, rows.shape[1], _TRIES):
        column = rows[:, feature]
        least, most = column.min(), column.max()
        if least == most:
            continue
        threshold = rng.uniform(least, most)
        below = column < threshold
        if not _LEAF <= below.sum() <= len(below) - _LEAF:
            continue
        mean_below, mean_above = active[below].mean(), active[~below].mean()
        share = below.mean()
        gain = share * (1 - share) * (mean_below - mean_above) ** 2
        if best is None or gain > best[0]:
            best = gain, feature, threshold, below
    if best is None:
        return float(active.mean())
    _, feature, threshold, below = best
    return (
        feature,
        threshold,
        _grow(rows[below], active[below], rng, depth - 1),
        _grow(rows[~below], active[~below], rng, depth - 1),
    )


def _ask(tree, rows):
    if isinstance(tree, float):
        return np.full(len(rows), tree)
    feature, threshold, under, over = tree
    below = rows[:, feature] < threshold
    said = np.empty(len(rows))
    said[below] = _ask(under, rows[below])
    said[~below] = _ask(over, rows[~below])
    return said
