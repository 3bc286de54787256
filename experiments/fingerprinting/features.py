"""What the attackers look at in a trace. Pure.

k-FP: Hayes and Danezis, "k-fingerprinting", USENIX Security 2016. CUMUL: Panchenko and others, "Website
Fingerprinting at Internet Scale", NDSS 2016. Every attacker is given `totals` besides: on a single padded
answer, when it began and how much there was is all that there is to see.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.fingerprinting.cells import Trace

Row = NDArray[np.float64]

CUMUL_POINTS = 100
SINGLE_CELLS = 500
"""Cells that the network sees one by one; after them BATCH to a slot: 16,500 fit, so 7 MB are seen whole."""
BATCH = 32
SLOTS = SINGLE_CELLS + 500
_QUARTILES = (25, 50, 75, 100)
_SHARES = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
_CHUNK = 20  # cells
_CHUNKS = 40
_BURSTS = 40
_HISTOGRAM = 20


def totals(trace: Trace) -> Row:
    """Cells each way, total time, when the answer began (three ways to tell), and when how much was there."""
    coming = trace.cells < 0
    times, amounts = trace.times[coming], -trace.cells[coming]
    if not len(times):
        return np.zeros(6 + len(_SHARES))
    gaps = np.diff(times, prepend=0.0)
    longest = int(np.argmax(gaps))
    arrived = np.cumsum(amounts)
    at = [times[np.searchsorted(arrived, share * arrived[-1])] for share in _SHARES]
    out = int(trace.cells[~coming].sum())
    head = [out, arrived[-1], trace.seconds, times[0], gaps[longest], times[longest]]
    return np.array([*head, *at], dtype=np.float64)


def cumul(trace: Trace) -> Row:
    """The course of the sum of directions, and of the count over time, at equal distances."""
    directions, times = trace.directions().astype(np.float64), trace.cell_times()
    if not len(directions):
        return np.zeros(2 * CUMUL_POINTS + len(totals(trace)))
    places = np.linspace(0, len(directions) - 1, CUMUL_POINTS)
    moments = np.linspace(0, times[-1], CUMUL_POINTS)
    sums = np.interp(places, np.arange(len(directions)), np.cumsum(directions))
    counts = np.interp(moments, times, np.arange(1, len(times) + 1))
    return np.concatenate([sums, counts, totals(trace)])


def kfp(trace: Trace) -> Row:
    directions, times = trace.directions(), trace.cell_times()
    out, coming = np.flatnonzero(directions > 0), np.flatnonzero(directions < 0)
    parts = [_pace(times), _pace(times[out]), _pace(times[coming])]
    parts.append(_counts(directions, out, coming))
    parts.append(_chunks(directions))
    parts.append(_bursts(directions))
    parts.append(_over_time(times))
    return np.concatenate([*parts, totals(trace)])


def _pace(times: Row) -> Row:
    """Gaps between cells, and by when each quarter had passed."""
    if not len(times):
        return np.zeros(4 + len(_QUARTILES))
    gaps = np.diff(times) if len(times) > 1 else np.zeros(1)
    spread = [gaps.max(), gaps.mean(), gaps.std(), np.percentile(gaps, 75)]
    return np.array([*spread, *np.percentile(times, _QUARTILES)])


def _counts(directions: NDArray[np.int8], out: NDArray[np.intp], coming: NDArray[np.intp]) -> Row:
    first, last = directions[:30], directions[-30:]
    return np.array(
        [
            *(len(directions), len(out), len(coming), len(out) / max(1, len(directions))),
            *_mean_and_spread(out),
            *_mean_and_spread(coming),
            *((first > 0).sum(), (first < 0).sum(), (last > 0).sum(), (last < 0).sum()),
        ],
        dtype=np.float64,
    )


def _mean_and_spread(values: NDArray[np.intp]) -> tuple[float, float]:
    return (float(values.mean()), float(values.std())) if len(values) else (0.0, 0.0)


def _chunks(directions: NDArray[np.int8]) -> Row:
    """Outgoing cells in each twenty."""
    starts = np.arange(0, max(1, len(directions)), _CHUNK)
    counts = np.add.reduceat(np.append(directions > 0, False).astype(np.float64), starts)
    spread = [counts.mean(), counts.std(), np.median(counts), counts.max()]
    return np.array([*spread, *_first(counts, _CHUNKS)])


def _bursts(directions: NDArray[np.int8]) -> Row:
    """Runs of incoming cells."""
    edges = np.flatnonzero(np.diff(directions)) + 1
    runs = [len(run) for run in np.split(directions, edges) if len(run) and run[0] < 0]
    lengths = np.array(runs or [0], dtype=np.float64)
    spread = [lengths.max(), lengths.mean(), lengths.std(), len(lengths)]
    more = [(lengths > limit).sum() for limit in (5, 20, 100)]
    return np.array([*spread, *more, *_first(lengths, _BURSTS)])


def _over_time(times: Row) -> Row:
    """Cells in each twentieth of the visit."""
    last = float(times[-1]) if len(times) else 0.0
    return np.histogram(times, _HISTOGRAM, (0.0, max(last, 1e-9)))[0].astype(np.float64)


def _first(values: Row, count: int) -> Row:
    filled = np.zeros(count)
    filled[: min(count, len(values))] = values[:count]
    return filled


def slots(trace: Trace) -> NDArray[np.float32]:
    """For the network: (2, SLOTS), the mean direction of each slot's cells and the log of its time."""
    directions, times = trace.directions().astype(np.float32), trace.cell_times()
    both = np.stack([directions, np.log1p(times).astype(np.float32)])
    room = SINGLE_CELLS + BATCH * (SLOTS - SINGLE_CELLS)
    filled = np.zeros((2, room), dtype=np.float32)
    filled[:, : both.shape[1]] = both[:, :room]
    batches = filled[:, SINGLE_CELLS:].reshape(2, -1, BATCH).mean(axis=2)
    return np.concatenate([filled[:, :SINGLE_CELLS], batches], axis=1)
