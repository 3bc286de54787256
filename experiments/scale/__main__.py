"""`make experiment-scale [CONSENSUS=FILE]`: the table of docs/balancer-at-scale.md, from nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bento.functions.balancer.fleet import Options
from experiments.scale.population import read_consensus, synthetic
from experiments.scale.visits import Outcome, Plan, simulate

_VISITORS = (100, 1_000, 10_000, 100_000)
_MOST = (1, 4, 40)
_HOURS = 0.6
_COLUMNS = "visitors replicas first-byte p95 completion p95 lost replica-s intro/s front%"


def main() -> None:
    parser = argparse.ArgumentParser(prog="experiments.scale", description=__doc__)
    parser.add_argument("--consensus", type=Path, help="a tor's cached-consensus")
    parser.add_argument("--visitors", type=int, nargs="*", default=_VISITORS)
    args = parser.parse_args()
    rng = np.random.default_rng(1)
    population = read_consensus(args.consensus) if args.consensus else synthetic(rng)
    print(
        f"{len(population)} relays; medians and 95th percentiles in seconds; 2 MB a visitor, within 600 s"
    )
    print(" ".join(f"{name:>10}" for name in _COLUMNS.split()))
    for visitors in args.visitors:
        for most in _MOST:
            plan = Plan(visitors)
            if visitors * plan.size / plan.uplink > most * _HOURS * 3600:
                continue  # so few replicas would be at it until tomorrow
            print(_line(visitors, simulate(plan, Options(most=most), population)), flush=True)


def _line(visitors: int, outcome: Outcome) -> str:
    lost = int(np.isinf(outcome.completion).sum())
    times = [
        np.quantile(values, level)
        for values in (outcome.first_byte, outcome.completion)
        for level in (0.5, 0.95)
    ]
    cells = [
        f"{visitors:,}",
        str(outcome.replicas),
        *(f"{value:.1f}" for value in times),
        str(lost),
    ]
    cells += [f"{outcome.replica_seconds:,.0f}", f"{outcome.peak_introductions:.0f}"]
    cells.append(f"{100 * outcome.front_load:.1f}")
    return " ".join(f"{cell:>10}" for cell in cells)


if __name__ == "__main__":
    main()
