"""Max-min fair rates: what every flow gets when all share as TCP and Tor's schedulers roughly do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def fair_rates(capacity: Floats, paths: Ints, caps: Floats) -> Floats:
    """The rate of each flow, in the unit of `capacity`.

    `capacity`: of each resource, shape (R,). `paths`: the resources of each flow, shape (F, H); one that
    stands there twice is used twice. `caps`: what each flow can carry by itself, shape (F,).

    Progressive filling (Bertsekas and Gallager, Data Networks, 6.5.2), all bottlenecks of a round at
    once: a resource whose equal share is the smallest for all of its flows has its final share.
    """
    flows, hops = paths.shape
    rates = np.zeros(flows)
    open_flows = np.arange(flows)
    left = capacity.astype(float).copy()
    while open_flows.size:
        used = np.bincount(paths[open_flows].ravel(), minlength=capacity.size)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(used > 0, np.maximum(left, 0) / used, np.inf)
        least = share[paths[open_flows]].min(axis=1)
        # A flow's own cap is a resource that it has for itself.
        capped = caps[open_flows] <= least
        bound = np.minimum(least, caps[open_flows])
        lowest = np.full(capacity.size, np.inf)
        np.minimum.at(lowest, paths[open_flows].ravel(), np.repeat(bound, hops))
        bottleneck = share <= lowest * (1 + 1e-9)
        done = capped | bottleneck[paths[open_flows]].any(axis=1)
        finished = open_flows[done]
        rates[finished] = bound[done]
        np.subtract.at(left, paths[finished].ravel(), np.repeat(bound[done], hops))
        open_flows = open_flows[~done]
    return rates
