"""What a process and all below it use, read from /proc, where no control group counts it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from bento.sandbox.cgroup import Usage

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> Iterator[int]:
    """`pid` and all below it. Of a pid namespace's first process: the whole namespace."""
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        yield current
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{current}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())


def usage(pid: int) -> Usage:
    """Sums; memory shared between the processes is counted once for each."""
    cpu = memory = 0
    for process in descendants(pid):
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
            cpu += sum(int(ticks) for ticks in stat[11:15])  # own and of reaped children
            resident, shared = Path(f"/proc/{process}/statm").read_text().split()[1:3]
            memory += (int(resident) - int(shared)) * _PAGE
    return Usage(cpu / _TICK, memory)
