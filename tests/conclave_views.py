"""What the operator of a box can look at from outside a conclave."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from bento.sandbox import tree


def outside(local, tap, logged: str) -> dict[str, bytes]:
    """Everything but the memory of the sandbox: view -> content."""
    sandboxes = [instance.sandbox.pid for instance in local.instances]
    return {
        "relayed": tap.seen,
        "logged": logged.encode(),
        **standing(sandboxes, local.config.state, local.config.run),
        "the box's notes": repr([vars(instance) for instance in local.instances]).encode(),
    }


def standing(sandboxes, *folders, most=None) -> dict[str, bytes]:
    """What sandboxes of these pids keep on disk and show in the process list; and what is in `folders`:
    `most` bytes of each file, or all."""
    disks = [Path(f"/proc/{pid}/root/tmp") for pid in sandboxes]
    files = [path for folder in (*folders, *disks) for path in folder.rglob("*")]
    processes = {os.getpid(), *(child for pid in sandboxes for child in tree.descendants(pid))}
    return {
        "names on disk": b"\n".join(os.fsencode(path) for path in files),
        "files on disk": b"\n".join(_begin(path, most) for path in files if path.is_file()),
        "arguments": b"\n".join(_proc(pid, "cmdline") for pid in processes),
        "environment": b"\n".join(_proc(pid, "environ") for pid in processes - {os.getpid()}),
    }


def _begin(path: Path, most: int | None) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def _proc(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def memory_holds(pid: int, needle: bytes) -> bool:
    """Whether root finds `needle` in the memory of a process."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if "r" not in rights or "[v" in line:
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            with contextlib.suppress(OSError):
                memory.seek(start)
                if needle in memory.read(end - start):
                    return True
    return False
