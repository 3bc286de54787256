"""Is what the stand-in sends what Browser would have? `python -m experiments.fingerprinting.real [SITE...]`

For each case that is sent or derived, one real page by Browser with that case's words, and the stand-in for
an unpadded visit to it; printed is what the tap saw of each. Each began when its own page was ready.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable

from experiments.fingerprinting.cases import SENT, SHIPPED, UNPADDED, Case
from experiments.fingerprinting.collect import users
from experiments.fingerprinting.derive import derive
from experiments.fingerprinting.lane import Lane
from experiments.fingerprinting.sites import Corpus, Site, sites
from experiments.fingerprinting.store import Visit
from experiments.fingerprinting.web import serving

_SOME = ("exim4-doc-html", "zoneminder-doc", "uikit")


async def compare(corpus: Corpus, chosen: list[Site]) -> None:
    print(
        f"{'site, case':42}{'cells out':>20}{'cells in':>20}{'answer begins, s':>20}{'takes, s':>16}"
    )
    with serving(corpus, chosen):
        async with users(len(chosen)) as lanes:
            await asyncio.gather(*map(_compare, lanes, chosen))


async def _compare(lane: Lane, site: Site) -> None:
    plain = await lane.browse(UNPADDED, site, 0)
    for case in (*SENT, SHIPPED):
        real = await lane.browse(case, site, 0)
        print(
            f"{site.name + ', ' + case.name:42}"
            + _columns(real, await _stand_in(lane, site, case, plain))
        )


async def _stand_in(lane: Lane, site: Site, case: Case, plain: Visit) -> Visit:
    if case in SENT:
        return await lane.visit(case, site, 0, plain)
    source = await lane.visit(next(each for each in SENT if each.name == "x2"), site, 0, plain)
    return next(visit for visit in derive([plain, source]) if visit.case == case.name)


def _columns(real: Visit, stand_in: Visit) -> str:
    def both(values: Iterable[float], places: int, width: int) -> str:
        return " v. ".join(f"{value:.{places}f}" for value in values).rjust(width)

    visits = (real, stand_in)
    cells = [visit.trace.cells for visit in visits]
    return (
        both((float(each[each > 0].sum()) for each in cells), 0, 20)
        + both((float(-each[each < 0].sum()) for each in cells), 0, 20)
        + both((visit.first for visit in visits), 2, 20)
        + both((visit.trace.seconds - visit.first for visit in visits), 2, 16)
    )


if __name__ == "__main__":
    names = sys.argv[1:] or _SOME
    asyncio.run(compare(Corpus(), [site for site in sites() if site.name in names]))
