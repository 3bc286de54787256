"""Takes away what an earlier bentod left and the journal does not know: sandboxes that nobody was given.

Their guests end by themselves when their bentod does, as they were never started. What stays are
control groups (named after the run folder, so that a neighbour's are left alone) and sockets.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bento.safelog import Event, log
from bento.sandbox import cgroup

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bento.box.journal import Entry


def sweep(run: Path, known: Iterable[Entry]) -> frozenset[str]:
    """Removes the files in the folder `run` that belong to none of `known`, and finds the control groups
    of which that is true: to be taken away by `end`."""
    records = [entry.record for entry in known]
    groups = cgroup.left_of(run) - {record.group for record in records}
    sockets = {f"{record.instance_id}.sock" for record in records}
    for path in run.glob("*.sock"):
        if path.name not in sockets:
            path.unlink()
    (run / "ready").unlink(missing_ok=True)
    return frozenset(groups)


async def end(groups: frozenset[str]) -> None:
    """Kills what is in the control groups and removes them."""
    await asyncio.gather(*(cgroup.Group(name).kill_and_remove() for name in groups))
    if groups:
        log(Event.LEFTOVERS_ENDED, count=len(groups))
