"""One measured figure, and the small tools that measure."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`value` and `reference` in `unit`; the goal is on `ratio` = value / reference, and perhaps on
    the value itself (`limit`)."""

    figure: str
    value: float
    unit: str
    reference: float
    goal: float
    limit: float | None = None
    at_least: bool = False  # the goal is a lower bound
    what: str = ""

    def line(self) -> dict[str, object]:
        ratio = self.value / self.reference
        ok = ratio >= self.goal if self.at_least else ratio <= self.goal
        if self.limit is not None:
            ok = ok and self.value <= self.limit
        return {
            "figure": self.figure,
            "what": self.what,
            "value": _round(self.value),
            "unit": self.unit,
            "reference": _round(self.reference),
            "ratio": _round(ratio),
            "goal": self.goal,
            "limit": self.limit,
            "ok": ok,
        }


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def spawn_ms(command: Sequence[str]) -> float:
    """Milliseconds from starting `command` to the first byte it writes."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        return (time.perf_counter() - began) * 1e3


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def median_of(measure: Callable[[], float], times: int) -> float:
    return median([measure() for _ in range(times)])
