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


async def sweep(run: Path, known: Iterable[Entry]) -> None:
    """Ends and removes what is in or of the folder `run` and belongs to none of `known`."""
    records = [entry.record for entry in known]
    groups = cgroup.left_of(run) - {record.group for record in records}
    await asyncio.gather(*(cgroup.Group(name).kill_and_remove() for name in groups))
    sockets = {f"{record.instance_id}.sock" for record in records}
    for path in run.glob("*.sock"):
        if path.name not in sockets:
            path.unlink()
    (run / "ready").unlink(missing_ok=True)
    if groups:
        log(Event.LEFTOVERS_ENDED, count=len(groups))
