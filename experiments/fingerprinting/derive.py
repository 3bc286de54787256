"""The derived cases: an answer that was sent as soon as it was ready, moved to its public start. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bento.functions.browser.sizes import start_time
from experiments.fingerprinting.cases import DERIVED
from experiments.fingerprinting.cells import later
from experiments.fingerprinting.store import Visit

SOURCE = "x2"
"""The case whose traces are moved: powers of two, sent when ready."""

NEAR = 0.3
"""Seconds: between an answer's first cell and its first byte read lies the rest of a block."""


def derive(visits: Sequence[Visit]) -> list[Visit]:
    """The visits of the derived cases: the answer waits until its public start."""
    made = []
    for case in DERIVED:
        for visit in visits:
            if visit.case == SOURCE:
                wait = start_time(case.timing, visit.ready) - visit.ready
                trace = later(visit.trace, _begins(visit), wait)
                made.append(replace(visit, case=case.name, trace=trace, first=visit.first + wait))
    return made


def _begins(visit: Visit) -> float:
    """When the answer's first cell came: after the longest silence just before its first byte was read."""
    times = visit.trace.times
    near = np.flatnonzero((times >= visit.first - NEAR) & (times <= visit.first))
    if not len(near):
        return visit.first
    silence = np.diff(times, prepend=0.0)[near]
    return float(times[near[np.argmax(silence)]])
