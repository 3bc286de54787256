"""Outside identities: every live instance of this machine has a user id of its own.

Two sandboxes with one outside user could signal and read each other if a namespace failed. The ids
300000 to 365535 belong to nobody on a Debian machine (they lie above what adduser, systemd and the
first sub-id ranges take). One folder of locks serves every bentod of the machine: a lock file names
the process that has the id, so an id outlives a restart of bentod and is free again after a crash.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
from functools import cache
from pathlib import Path

from bento.errors import HostError
from bento.sandbox.process import runs, start_time

FIRST = 300_000
COUNT = 65_536
_FOLDER = Path("/run/bento-uids")
_ATTEMPTS = 200


class Uid:
    """A claimed id. `bind` it to the sandbox's process, `release` it when that is gone."""

    def __init__(self, number: int, path: Path, descriptor: int | None) -> None:
        self.number = number
        self._path = path
        self._descriptor = descriptor

    def bind(self, pid: int) -> None:
        """From here the id is taken for as long as process `pid` lives."""
        assert self._descriptor is not None
        os.pwrite(self._descriptor, f"{pid} {start_time(pid)}\n".encode(), 0)

    def leave(self) -> None:
        """Keep it taken by the process it is bound to, without us."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def release(self) -> None:
        """Give the id back. Only once every process that had it is gone."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)  # under the lock: nobody else can hold this file
            os.close(self._descriptor)
            self._descriptor = None


def claim(folder: Path = _FOLDER) -> Uid:
    """A user id that no live instance has. Raises HostError if there is none."""
    _prepare(folder)
    for _ in range(_ATTEMPTS):
        uid = _try(FIRST + random.randrange(COUNT), folder)  # noqa: S311 - need not be secret
        if uid is not None:
            return uid
    raise HostError("no free user id for a sandbox", f"look into {folder}")


def adopt(number: int, folder: Path = _FOLDER) -> Uid:
    """The id of an instance that an earlier bentod started."""
    path = folder / str(number)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    # Waits: another bentod that is just starting may have a look at it, which takes microseconds.
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return Uid(number, path, descriptor)


@cache
def _prepare(folder: Path) -> None:
    """Makes the folder; takes away what a crash left in it, once per process."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for path in folder.iterdir():
        uid = _try(int(path.name), folder)
        if uid is not None:
            uid.release()


def _try(number: int, folder: Path) -> Uid | None:
    path = folder / str(number)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its holder may have unlinked the file between our open and our lock.
        if path.stat().st_ino == os.fstat(descriptor).st_ino and not _is_bound(descriptor):
            return Uid(number, path, descriptor)
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _is_bound(descriptor: int) -> bool:
    words = os.pread(descriptor, 64, 0).split()
    with contextlib.suppress(ValueError):
        pid, started = map(int, words)
        return runs(pid, started)
    return False
