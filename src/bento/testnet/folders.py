"""The folders of one user's test network, and the lock that keeps it single.

`data` ($BENTO_HOME/testnet) outlives the network: keys, saved consensuses, logs. `run` lives as
long as the network: sockets and the process table. Its name follows from the home alone, so that
every command finds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bento.errors import HostError
from bento.home import bento_home

_NAME_LENGTH = 10  # hex digits of the home's hash: two homes of one user in 2**40 clash
_POLL = 0.05  # seconds between two tries for the lock


@dataclass(frozen=True)
class Folders:
    """Where one test network keeps its files."""

    data: Path
    run: Path

    @classmethod
    def of(cls, home: Path | None = None) -> Folders:
        """The folders that belong to `home` (default: `bento_home()`). Makes nothing else."""
        home = (home or bento_home()).absolute()
        digest = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:_NAME_LENGTH]
        return cls(home / "testnet", _run_parent() / f"bento-{digest}")

    @property
    def socket(self) -> Path:
        """Where the supervisor answers."""
        return self.run / "supervisor.sock"

    @property
    def processes(self) -> Path:
        """The table of processes that belong to the network."""
        return self.run / "processes"

    @property
    def log(self) -> Path:
        return self.data / "supervisor.log"

    def make(self) -> None:
        """Make both. Raises HostError, also if `run` is somebody else's."""
        try:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.run.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise HostError(f"cannot make {error.filename}: {error.strerror}") from None
        self.require_own_run()

    def require_own_run(self) -> None:
        """Raise HostError unless `run` is a folder that only this user may enter."""
        found = self.run.lstat()
        private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
        if not private or found.st_uid != os.geteuid():
            raise HostError(f"{self.run} is not a private folder of this user", "remove it")

    def remove_run(self) -> None:
        """Remove `run` with everything in it."""
        shutil.rmtree(self.run, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def locked(self, name: str, patience: float) -> AsyncIterator[None]:
        """Hold the lock of that name; a supervisor holds its own for its whole life.

        Waits `patience` seconds for it, then raises HostError. The kernel frees it when the
        holder dies in whatever way.
        """
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.data / name, "wb") as file:
            await _lock(file.fileno(), patience)
            yield


async def _lock(fd: int, patience: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if loop.time() > end:
                raise HostError(
                    "the test network of this folder is busy starting or stopping",
                    "try again in a moment",
                ) from None
        await asyncio.sleep(_POLL)


def _run_parent() -> Path:
    """A folder with a short path that lives no longer than this boot, if there is one."""
    user = os.geteuid()
    for parent in (Path("/run"), Path(f"/run/user/{user}")):
        if parent.is_dir() and parent.stat().st_uid == user and os.access(parent, os.W_OK):
            return parent
    return Path("/tmp")  # noqa: S108 - the folder made in it is 0700 and its owner is checked
