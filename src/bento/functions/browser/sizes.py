"""The public sets from which an answer's size and its start are taken.

An observer of the user's line sees two numbers: how many bytes came back, and when they began to.
Both are rounded up to a member of a small public set that depends on nothing but its name, so all
that they tell is which member it was. Before them comes a warm-up, alike for every page.
Pure, standard library only: both halves share it.
"""

from collections.abc import Callable

KIB = 1024
MIB = 1024 * KIB

FLOOR_BYTES = 256 * KIB
"""The smallest member of the doubling sets: it joins the many small pages. From 256 KiB the x2 set
gives as little away as the paper's multiples of 1 MB, for about half the bytes."""

MAX_ANSWER_BYTES = 128 * MIB
"""No answer is larger, whatever the set: the client stops reading there."""

WARM_UP_BYTES = 224 * KIB
"""Zeros that leave at the moment of the call, while nothing is known of the page yet. A fresh circuit
lets 124 cells go, and one more for each that arrived (proposal 324; more slowly beyond 600), so an
answer of 256 KiB, 540 cells, would wait two round trips and one of 512 KiB three. These 470 cells open
the window to 594 while the page is being fetched: then the one does not wait and the other once."""


def _doubling(size: int) -> int:
    member = FLOOR_BYTES
    while member < size:
        member *= 2
    return member


def _by_half(size: int) -> int:
    """Members are FLOOR * 3^k / 2^k, in whole bytes (each exact up to k = 18, beyond the cap)."""
    numerator, denominator = FLOOR_BYTES, 1
    while numerator // denominator < size:
        numerator, denominator = numerator * 3, denominator * 2
    return numerator // denominator


def _multiples(unit: int) -> Callable[[int], int]:
    return lambda size: max(1, -(-size // unit)) * unit


SIZE_SETS: dict[str, Callable[[int], int]] = {
    "x2": _doubling,
    "x1.5": _by_half,
    "1MB": _multiples(1_000_000),
    "7MB": _multiples(7_000_000),
    "none": lambda size: size,
}
"""Name of a set -> the smallest member that holds so many bytes."""

FIRST_STARTS: dict[str, float | None] = {"x2": 1.0, "fixed": 8.0, "none": None}
"""Name of a set of starts -> its earliest, in seconds after the function was called; each next one is twice
as late. x2: 1, 2, 4, 8 ... fixed: 8, 16, 32, so that nearly every page begins at the same moment and the
time it took tells nothing. none: as soon as the answer is ready."""

START_SETS = tuple(FIRST_STARTS)

WARM_UPS = {"x2": WARM_UP_BYTES, "x1.5": WARM_UP_BYTES}
"""Name of a set of sizes -> its warm-up; the paper's own sets, and none, are without."""


def padded_size(padding: str, size: int) -> int:
    """The smallest member of the set `padding` (a name of SIZE_SETS) that is >= `size` bytes."""
    return SIZE_SETS[padding](size)


def warm_up(padding: str) -> int:
    """How many zeros go before an answer of the set `padding`; they are not part of its size."""
    return WARM_UPS.get(padding, 0)


def start_time(timing: str, elapsed: float) -> float:
    """When an answer that is ready after `elapsed` seconds begins, in seconds since the call."""
    start = FIRST_STARTS[timing]
    if start is None:
        return elapsed
    while start < elapsed:
        start *= 2
    return start
