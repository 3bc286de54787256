"""One program of ours, started, watched and stopped: `bentod` and the forwarder.

It is ready when it has made its ready file. It gets SIGINT, which ends a bentod together with its
instances (see `box.daemon`), when asked to stop and when its parent dies in whatever way
(`setpriv --pdeathsig`, util-linux), so nothing is left of a network whose supervisor was killed.
The same face as `bento.tor.process.TorProcess`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bento.errors import HostError, UsageError

_POLL = 0.02  # seconds between two looks for the ready file
_LEASH = ("setpriv", "--pdeathsig", "SIGINT", "env", "--default-signal=INT")
"""What is started in the background of a shell ignores SIGINT, and would hand that down."""
_STEPS = ((signal.SIGINT, 15.0), (signal.SIGKILL, 5.0))  # a bentod ends its instances meanwhile
_LONGEST_LOG = 4 << 20  # bytes; a longer one is begun anew at the next start


class Program:
    """A child process. `exited` is done with its status (negative: the signal) when it ends."""

    def __init__(self, name: str, command: Sequence[str], *, ready: Path, log: Path) -> None:
        self.name = name
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._command = command
        self._ready = ready
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id. UsageError before `start`."""
        if self._process is None:
            raise UsageError(f"{self.name} was not started")
        return self._process.pid

    def spawn(self) -> None:
        """Start the process. Raises HostError."""
        try:
            self._ready.unlink(missing_ok=True)
            self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(self._log, "ab") as log:
                if log.tell() > _LONGEST_LOG:
                    log.truncate(0)
                self._process = subprocess.Popen(
                    [*_LEASH, *self._command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise HostError(f"cannot start {self.name}: {error.strerror}") from None
        pidfd = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(pidfd, self._reap, pidfd)

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises HostError if it ends before."""
        self.spawn()
        while not self._ready.exists():
            if self.exited.done():
                raise self.failure()
            await asyncio.sleep(_POLL)

    async def stop(self) -> None:
        """End it and wait until it has ended. Safe to call twice."""
        if self._process is None:
            return
        for number, patience in _STEPS:
            if not self.exited.done():
                self._process.send_signal(number)
                await asyncio.wait([self.exited], timeout=patience)
        await self.exited

    def failure(self) -> HostError:
        """How it ended; if by itself, in the last words of its log."""
        status = self.exited.result() if self.exited.done() else 0
        hint = f"its log is {self._log}"
        if status < 0:
            return HostError(f"{self.name} was killed by signal {-status}", hint)
        return HostError(f"{self.name} exited with status {status}: {self._last_words()}", hint)

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _reap(self, pidfd: int) -> None:
        assert self._process is not None
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        self.exited.set_result(self._process.wait())
