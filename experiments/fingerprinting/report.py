"""From visits to the table and the plot of docs/fingerprinting.md."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from bento.functions.browser.sizes import start_time
from experiments.fingerprinting.attacks import ATTACKS, PUBLISHED, Score, attack
from experiments.fingerprinting.cases import (
    BESIDE_COVER,
    CASES,
    COVERED,
    SENT,
    UNDEFENDED,
    UNPADDED,
    Case,
)
from experiments.fingerprinting.judge import alike, bound, swapped, wilson
from experiments.fingerprinting.store import Visit
from experiments.fingerprinting.world import World, open_world

LEAST_SITES = 50
LEAST_SITES_COVERED = 10
FIXED = ("x2-fixed", "x2-in-time")
_QUICK = ("k-FP", "CUMUL")
_DEALS = 10
_WITHIN = 2.0  # points that the best attack may be above the bound (R14)


@dataclass(frozen=True)
class Row:
    """One case, as the table has it."""

    case: str
    what: str
    scores: dict[str, Score]
    by_size: float
    """What the answer's size alone gives away; by size and start, `by_both`."""
    by_both: float
    bytes: float
    """Times as many cells as Chromium over Tor, both ways together."""
    seconds: float
    """Times as long, from the first cell to the last."""

    @property
    def best(self) -> tuple[str, Score]:
        return max(self.scores.items(), key=lambda item: item[1].hits)


def comparable(visits: Sequence[Visit]) -> list[Visit]:
    """Those that are compared: the same sites and rounds in every case."""
    names = [case.name for case in (UNDEFENDED, UNPADDED, *SENT)]
    return alike(visits, names, LEAST_SITES)


def under_cover(visits: Sequence[Visit]) -> list[Visit]:
    """The visits that were made under Cover, and the same ones of the cases beside it."""
    names = [case.name for case in BESIDE_COVER]
    return alike(visits, names, LEAST_SITES_COVERED)


def rows(visits: Sequence[Visit], cases: Sequence[Case] = CASES) -> list[Row]:
    by_case = {case.name: [v for v in visits if v.case == case.name] for case in cases}
    plain = by_case[UNDEFENDED.name]
    ready = _ready(visits)
    found = []
    for case in cases:
        of_case = by_case[case.name]
        public = partial(_public, case, ready)
        row = Row(
            case.name,
            case.what,
            {name: attack(name, of_case) for name in ATTACKS},
            bound(of_case, lambda visit: visit.size) if case.is_browser else 1.0,
            bound(of_case, public) if case.is_browser else 1.0,
            _ratio([len(v.trace) for v in of_case], [len(v.trace) for v in plain]),
            _ratio([v.trace.seconds for v in of_case], [v.trace.seconds for v in plain]),
        )
        print("  " + line(row), flush=True)
        found.append(row)
    return found


def _public(case: Case, ready: dict[tuple[str, int], float], visit: Visit) -> Hashable:
    """What an answer shows if nothing but its two public numbers does; `ready` is when Browser itself was.
    Under Cover that is how many minutes it lasted."""
    if case is COVERED:
        return round(visit.trace.seconds / 60)
    if case.timing == "none":
        return visit.size
    return visit.size, start_time(case.timing, ready[visit.site, visit.number])


def _ratio(of: Sequence[float], to: Sequence[float]) -> float:
    return float(np.sum(of) / np.sum(to))


def meets_r14(found: Sequence[Row]) -> bool:
    """The best of the attacks on fixed starts and powers of two is within 2 points of the bound."""
    row = next(row for row in found if row.case == "x2-fixed")
    _, score = row.best
    return 100 * (score.hits / score.of - row.by_size) <= _WITHIN


def plain(found: Sequence[Row]) -> list[dict[str, object]]:
    return [asdict(row) for row in found]


def luck(visits: Sequence[Visit]) -> dict[str, dict[str, list[float]]]:
    """For the cases of fixed starts: what attacks reach when nothing but the public numbers is left."""
    ready = _ready(visits)
    found: dict[str, dict[str, list[float]]] = {}
    for case in (case for case in CASES if case.name in FIXED):
        of_case = [visit for visit in visits if visit.case == case.name]
        dealt = [swapped(of_case, partial(_public, case, ready), seed) for seed in range(_DEALS)]
        found[case.name] = {
            name: [score.hits / score.of for score in (attack(name, each) for each in dealt)]
            for name in _QUICK
        }
    return found


def luck_lines(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    what = {case.name: case.what for case in CASES}
    return "".join(
        f"{what[case]}, {name}, sites dealt out anew {len(shares)} times: mean"
        f" {100 * float(np.mean(shares)):.1f}, {100 * min(shares):.1f} to {100 * max(shares):.1f}\n"
        for case, scores in found.items()
        for name, shares in scores.items()
    )


def _ready(visits: Sequence[Visit]) -> dict[tuple[str, int], float]:
    return {(v.site, v.number): v.ready for v in visits if v.case == UNPADDED.name}


def published_table(found: Mapping[str, Mapping[str, Score]]) -> str:
    """The networks as published; in Markdown."""
    what = {case.name: case.what for case in CASES}
    lines = [_cells(["case", *PUBLISHED]), _cells(["---"] * (1 + len(PUBLISHED)))]
    for name, scores in found.items():
        shares = [_share(scores[each]) if each in scores else "" for each in PUBLISHED]
        lines.append(_cells([what[name], *shares]))
    return "\n".join(lines) + "\n"


def worlds(visits: Sequence[Visit]) -> dict[str, World]:
    """The open world by the forest, in every case."""
    forest = ATTACKS["k-FP"]
    return {
        case.name: open_world(forest, [v for v in visits if v.case == case.name]) for case in CASES
    }


def world_table(found: Mapping[str, World]) -> str:
    what = {case.name: case.what for case in CASES}
    lines = [_cells(["case", "precision", "recall"]), _cells(["---"] * 3)]
    for name, world in found.items():
        lines.append(
            _cells([what[name], f"{100 * world.precision:.1f}", f"{100 * world.recall:.1f}"])
        )
    return "\n".join(lines) + "\n"


# -- words and pictures -------------------------------------------------------------------------


def line(row: Row) -> str:
    scores = ", ".join(f"{name} {_share(score)}" for name, score in row.scores.items())
    return (
        f"{row.what}: {scores}; size alone {100 * row.by_size:.1f};"
        f" x{row.bytes:.2f} cells, x{row.seconds:.2f} time"
    )


def _share(score: Score) -> str:
    low, high = wilson(score.hits, score.of)
    return f"{100 * score.hits / score.of:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def table(found: Sequence[Row]) -> str:
    """In Markdown."""
    head = ["case", *ATTACKS, "size alone", "size and start", "cells", "time"]
    lines = [_cells(head), _cells(["---"] * len(head))]
    for row in found:
        best = row.best[0]
        scores = [
            f"**{_share(score)}**" if name == best else _share(score)
            for name, score in row.scores.items()
        ]
        bounds = (
            [f"{100 * row.by_size:.1f}", f"{100 * row.by_both:.1f}"]
            if row.case != UNDEFENDED.name
            else ["", ""]
        )
        lines.append(
            _cells([row.what, *scores, *bounds, f"x {row.bytes:.2f}", f"x {row.seconds:.2f}"])
        )
    return "\n".join(lines) + "\n"


def _cells(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"


_WIDTH, _LEFT, _RIGHT, _ROW = 760, 300, 40, 62
_COLOURS = ("#1b6ca8", "#d1495b", "#66a182")


def plot(found: Sequence[Row], title: str) -> str:
    """As SVG: a bar an attack with its interval, and a black line where size alone would get."""
    height = _ROW * len(found) + 90
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="20" font-size="14">{title}</text>',
    ]
    for share in range(0, 101, 20):
        at = _across(share / 100)
        parts.append(f'<line x1="{at}" y1="34" x2="{at}" y2="{height - 44}" stroke="#ddd"/>')
        parts.append(f'<text x="{at}" y="{height - 30}" text-anchor="middle">{share} %</text>')
    for number, row in enumerate(found):
        parts += _bars(row, 40 + number * _ROW)
    for number, name in enumerate(ATTACKS):
        at = _LEFT + 110 * number
        parts.append(
            f'<rect x="{at}" y="{height - 20}" width="10" height="10" fill="{_COLOURS[number]}"/>'
        )
        parts.append(f'<text x="{at + 14}" y="{height - 11}">{name}</text>')
    at = _LEFT + 110 * len(ATTACKS)
    parts.append(f'<text x="{at}" y="{height - 11}">| size alone</text>')
    return "\n".join([*parts, "</svg>", ""])


def _across(share: float) -> float:
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def _bars(row: Row, top: int) -> list[str]:
    parts = [f'<text x="{_LEFT - 8}" y="{top + 27}" text-anchor="end">{row.what}</text>']
    for number, score in enumerate(row.scores.values()):
        y, end = top + 14 * number, _across(score.hits / score.of)
        low, high = map(_across, wilson(score.hits, score.of))
        colour = _COLOURS[number]
        parts.append(
            f'<rect x="{_LEFT}" y="{y}" width="{end - _LEFT:.1f}" height="11" fill="{colour}"/>'
        )
        parts.append(f'<line x1="{low}" y1="{y + 5.5}" x2="{high}" y2="{y + 5.5}" stroke="black"/>')
    if row.case != UNDEFENDED.name:
        at = _across(row.by_size)
        parts.append(
            f'<line x1="{at}" y1="{top - 3}" x2="{at}" y2="{top + 43}" stroke="black" stroke-width="2"/>'
        )
    return parts
