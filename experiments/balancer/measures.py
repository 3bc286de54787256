"""What is compared: completion times, fairness, and what no balancer could do better. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """One client's. `curve`: (seconds since the first client's start, bytes so far)."""

    client: int
    began: float
    ended: float
    curve: tuple[tuple[float, int], ...]

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    def speeds(self, step: float = 2.0) -> list[tuple[float, float]]:
        """(time, bytes a second), averaged over `step` seconds each."""
        points: list[tuple[float, float]] = []
        at, before = self.began, 0
        while at < self.ended:
            upto = max((size for when, size in self.curve if when <= at + step), default=0)
            points.append((at + step / 2, (upto - before) / step))
            at, before = at + step, upto
        return points


def first_byte(downloads: Sequence[Download]) -> float:
    """Seconds that the first client, alone then, waited for its first byte: what any visit costs."""
    first = min(downloads, key=lambda download: download.began)
    return first.curve[0][0] - first.began


def throughput(downloads: Sequence[Download]) -> float:
    """Bytes a second of one server that was never idle, over the time it served anybody."""
    begun = min(download.curve[0][0] for download in downloads)
    return sum(download.curve[-1][1] for download in downloads) / (
        max(download.ended for download in downloads) - begun
    )


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all are alike, 1/n when one has everything."""
    total = sum(values)
    return total * total / (len(values) * sum(value * value for value in values))


def fluid_optimum(arrivals: Sequence[float], size: float, servers: int, rate: float) -> list[float]:
    """Completion times (from each arrival) if all servers were one fluid: present clients share
    `servers` x `rate` bytes a second evenly, none gets more than one server's."""
    left: dict[int, float] = {}
    done = [0.0] * len(arrivals)
    now, coming = 0.0, 0
    while coming < len(arrivals) or left:
        share = min(rate, servers * rate / len(left)) if left else 0.0
        first = min(left.values(), default=float("inf")) / share if left else float("inf")
        until = arrivals[coming] - now if coming < len(arrivals) else float("inf")
        step = min(first, until)
        for client in left:
            left[client] -= share * step
        now += step
        for client in [c for c, bytes_left in left.items() if bytes_left <= 1e-6]:
            done[client] = now - arrivals[client]
            del left[client]
        if step == until:
            left[coming] = size
            coming += 1
    return done
