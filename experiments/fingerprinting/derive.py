"""The derived cases: an answer that was sent, moved to another public start. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bento.functions.browser.sizes import start_time
from experiments.fingerprinting.cases import IN_TIME, SHIPPED, UNPADDED, Case
from experiments.fingerprinting.cells import later
from experiments.fingerprinting.store import Visit

NEAR = 0.3
"""Seconds: between an answer's first cell and its first byte read lies the rest of a block."""


@dataclass(frozen=True)
class Move:
    case: Case
    source: str
    """The case whose traces are moved."""
    by: Callable[[float], float]
    """How many seconds later an answer begins that was ready after so many."""


MOVES = (
    Move(IN_TIME, "x2-fixed", lambda ready: start_time("fixed", 0) - start_time("fixed", ready)),
    Move(SHIPPED, "x2", lambda ready: start_time(SHIPPED.timing, ready) - ready),
)


def derive(visits: Sequence[Visit]) -> list[Visit]:
    """The visits of the derived cases, of which Browser's own visit is there too."""
    ready = {
        (visit.site, visit.number): visit.ready for visit in visits if visit.case == UNPADDED.name
    }
    return [
        _moved(move.case, visit, move.by(ready[visit.site, visit.number]))
        for move in MOVES
        for visit in visits
        if visit.case == move.source and (visit.site, visit.number) in ready
    ]


def _moved(case: Case, visit: Visit, by: float) -> Visit:
    trace = later(visit.trace, _begins(visit), by)
    return replace(visit, case=case.name, trace=trace, first=visit.first + by)


def _begins(visit: Visit) -> float:
    """When the answer's first cell came: after the longest silence just before its first byte was read."""
    times = visit.trace.times
    near = np.flatnonzero((times >= visit.first - NEAR) & (times <= visit.first))
    if not len(near):
        return visit.first
    silence = np.diff(times, prepend=0.0)[near]
    return float(times[near[np.argmax(silence)]])
