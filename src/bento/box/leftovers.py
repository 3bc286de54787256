"""Sandboxes outlive a bentod that was killed: a note of each, so that the next one ends them.

A note holds the process number and start time, which together name one process for ever; nothing of
the function, its tokens or its client.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from bento.safelog import Event, log
from bento.sandbox.process import Process, start_time

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIX = ".running"


def note(run: Path, name: str, pid: int) -> None:
    """The sandbox `name` runs with `pid` as its first process."""
    (run / (name + _SUFFIX)).write_text(f"{pid} {start_time(pid)}\n")


def forget(run: Path, name: str) -> None:
    (run / (name + _SUFFIX)).unlink(missing_ok=True)


async def sweep(run: Path) -> None:
    """Ends what an earlier bentod left running, and removes its sockets."""
    ended = 0
    for path in run.glob("*" + _SUFFIX):
        with contextlib.suppress(ProcessLookupError, ValueError):
            pid, started = map(int, path.read_text().split())
            if start_time(pid) == started:
                process = Process(pid)
                process.kill()
                await process.exited
                ended += 1
        path.unlink()
    if ended:
        log(Event.LEFTOVERS_ENDED, count=ended)
    for path in run.glob("*.sock"):
        path.unlink()
    (run / "ready").unlink(missing_ok=True)
