"""Where on this machine control groups of ours can be made: version 1, version 2, or a mixture.

Ours lie below a folder `bento`: in version 1 at the top (root only, as it cannot be delegated safely),
in version 2 below our own group if that was given to us, as systemd does with `Delegate=yes`, else
at the top. Where none can be made a sandbox says so in its `level`.

Sources: the kernel's admin-guide/cgroup-v2.rst; systemd's "Control Group APIs and Delegation" (a
delegated group is ours below its own path, and only there).
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WANTED = frozenset({"memory", "pids", "cpu"})
_ACCOUNTING = frozenset({"cpuacct"})  # a controller of its own in version 1 only
_OURS, _LEAF = "bento", "bentod"
_ABANDONED = 60.0  # seconds after which a group without processes is nobody's


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted tree of groups in which ours may be made: `base` holds one folder per instance."""

    version: int
    base: Path
    controllers: frozenset[str]


@cache
def ours() -> tuple[Hierarchy, ...]:
    """Those of this machine in which we may make groups; looked up, and made ready, once per process."""
    found = []
    for version, mount, controllers in mounted(Path("/proc/self/mountinfo").read_text()):
        try:
            hierarchy = _of_version_1(mount, controllers) if version == 1 else _of_version_2(mount)
        except OSError:  # not ours to make
            continue
        if hierarchy.controllers:
            sweep(hierarchy.base)
            found.append(hierarchy)
    return tuple(found)


def mounted(mountinfo: str) -> list[tuple[int, Path, frozenset[str]]]:
    """(version, mount point, controllers of interest) of each cgroup mount in a mountinfo text.

    In version 2 the mount does not tell its controllers: all that are wanted are given.
    """
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        mount = Path(left.split()[4])
        if kind == "cgroup2":
            found.append((2, mount, WANTED))
        elif kind == "cgroup" and (ours := (WANTED | _ACCOUNTING) & set(options.split(","))):
            found.append((1, mount, frozenset(ours)))
    return found


def sweep(base: Path) -> None:
    """Takes away the empty groups of instances that ended together with their bentod."""
    for folder in base.iterdir():
        with contextlib.suppress(OSError):  # not empty, or not a folder
            if time.time() - folder.stat().st_ctime > _ABANDONED:
                folder.rmdir()


def write(path: Path, value: int | str) -> None:
    """Writes to a control file; never makes one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)


def _of_version_1(mount: Path, controllers: frozenset[str]) -> Hierarchy:
    base = mount / _OURS
    base.mkdir(exist_ok=True)
    write(base / "tasks", "")  # denied here, it would be denied later
    return Hierarchy(1, base, controllers)


def _of_version_2(mount: Path) -> Hierarchy:
    home = _home(mount)
    usable = WANTED & set((home / "cgroup.controllers").read_text().split())
    if not usable:
        return Hierarchy(2, home, usable)
    if home != mount:
        # A group with processes of its own cannot hand controllers down: step into a leaf.
        (home / _LEAF).mkdir(exist_ok=True)
        write(home / _LEAF / "cgroup.procs", os.getpid())
    base = home / _OURS
    base.mkdir(exist_ok=True)
    for group in (home, base):
        write(group / "cgroup.subtree_control", " ".join(f"+{name}" for name in usable))
    return Hierarchy(2, base, usable)


def _home(mount: Path) -> Path:
    """The group below which ours belong."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next(line.removeprefix("0::") for line in lines if line.startswith("0::"))
    group = mount / own.strip("/")
    return group if os.geteuid() != 0 or _is_delegated(group) else mount


def _is_delegated(group: Path) -> bool:
    for name in ("trusted.delegate", "user.delegate"):
        with contextlib.suppress(OSError):
            return os.getxattr(group, name) == b"1"
    return False
