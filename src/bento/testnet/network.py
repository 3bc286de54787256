"""The private network as other programs see it: up, down, status, and how to use it.

    network = Testnet(Size(boxes=3))
    await network.up()
    control, socks = network.user_tor()
    await network.down()

All work is done by a supervisor in the background; nothing here outlives a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bento.errors import HostError, UsageError
from bento.home import bento_home
from bento.testnet.folders import Folders
from bento.testnet.layout import Size, emulated
from bento.testnet.leftovers import clear
from bento.testnet.messages import MAX_LINE, Answer, Ask, Do, Status, Step, decode_answer, encode
from bento.testnet.processes import Table, end, ended

_PROMPT = 10.0
"""Seconds for an answer that a supervisor gives at once."""
_BRIEFLY = 1.0
"""Seconds in which a supervisor that was killed is gone."""
_DOWN_PATIENCE = 60.0
"""Seconds for a supervisor to end all processes, before it is ended itself."""
_LOCK_PATIENCE = 60.0
_POLL = 0.02  # seconds

Progress = Callable[[Step], None]
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class UserTor(NamedTuple):
    """The tor that bento's own commands drive; endpoints as `unix:/path`."""

    control: str
    socks: str


class Testnet:
    """The network of one home folder (default: `bento_home()`), running or not."""

    __test__ = False  # no test, whatever its name tells pytest

    def __init__(self, size: Size | None = None, home: Path | None = None) -> None:
        self.size = size or Size()
        self.home = (home or bento_home()).absolute()
        self._folders = Folders.of(self.home)

    @classmethod
    def find(cls, home: Path | None = None) -> Testnet | None:
        """The network that is up (or starting), or None. Quick, and without an event loop."""
        network = cls(home=home)
        answer = network._ask("status")
        if answer is None:
            return None
        network.size = _size(answer)
        return network

    async def up(self, progress: Progress | None = None, *, owner: int | None = None) -> Status:
        """Start the network, or join its start; return when it is usable.

        `progress` hears what is waited for. With `owner`, a process id, the network ends when
        that process does. Raises UsageError if one of another size is up, else the `BentoError`
        that made the start fail. Cancelling it before it returns takes the network down, unless
        somebody else waits for it too.
        """
        self._folders.make()
        async with self._folders.locked("up.lock", _LOCK_PATIENCE):
            streams = await self._connect_or_start(owner)
        with contextlib.closing(streams[1]):
            return await self._watch(streams, progress)

    async def down(self) -> None:
        """End everything, also what a dead supervisor has left. Does nothing if there is nothing.

        Saved state stays in the home folder.
        """
        if not self._folders.run.exists():
            return
        self._folders.require_own_run()
        listed = Table.read(self._folders.processes)
        answered = await asyncio.to_thread(self._ask, "down", _DOWN_PATIENCE)
        # It answers as the last thing it does, and then has still to exit.
        if answered is None or not await ended(listed, _PROMPT):
            await end(listed)
        async with self._folders.locked("supervisor.lock", _LOCK_PATIENCE):
            await clear(self._folders)

    async def status(self) -> Status:
        """What is there now. Also ends what a dead supervisor has left."""
        answer = await asyncio.to_thread(self._ask, "status")
        if answer is not None and answer.status is not None:
            return answer.status
        if self._folders.run.exists():
            await self._clear_if_unsupervised()
        return Status()

    @property
    def run(self) -> Path:
        """The network's private folder; it is gone when the network is."""
        return self._folders.run

    @property
    def emulated_root(self) -> Path:
        """The certificate that the boxes' emulated platforms stand under (PEM)."""
        return emulated(self._folders.data) / "root.pem"

    def user_tor(self) -> UserTor:
        """How to reach the tor for bento's own commands."""
        run = self._folders.run
        return UserTor(f"unix:{run / 'user.control'}", f"unix:{run / 'user.socks'}")

    # -- inside ------------------------------------------------------------------------------

    async def _connect_or_start(self, owner: int | None) -> _Streams:
        if await asyncio.to_thread(self._ask, "status") is not None:
            return await self._connect()
        lifeline = self._start_supervisor(owner)
        try:
            return await self._connect_when_there(lifeline)
        finally:
            os.close(lifeline)

    async def _connect(self) -> _Streams:
        try:
            return await asyncio.open_unix_connection(self._folders.socket, limit=MAX_LINE)
        except OSError:
            raise self._died() from None

    def _start_supervisor(self, owner: int | None) -> int:
        """Start one; returns a descriptor that is readable when it has ended."""
        command = [sys.executable, "-m", "bento.testnet.supervisor", "--home", str(self.home)]
        command += ["--boxes", f"{self.size.boxes}", "--relays", f"{self.size.relays}"]
        command += ["--delay-ms", f"{self.size.delay_ms:g}"]
        command += ["--owner", f"{owner}"] if owner is not None else []
        lifeline, far_end = os.pipe()
        with open(self._folders.log, "wb") as log:
            subprocess.run(
                [*command, "--lifeline", f"{far_end}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                pass_fds=[far_end],
                start_new_session=True,
                check=False,
            )
        os.close(far_end)
        os.set_blocking(lifeline, False)
        return lifeline

    async def _connect_when_there(self, lifeline: int) -> _Streams:
        while True:
            try:
                return await self._connect()
            except HostError:
                if _has_ended(lifeline):
                    raise
            await asyncio.sleep(_POLL)

    async def _watch(self, streams: _Streams, progress: Progress | None) -> Status:
        reader, writer = streams
        writer.write(encode(Ask("watch")))
        while line := await self._next_line(reader):
            answer = decode_answer(line)
            if answer.failure is not None:
                raise answer.failure.error()
            if answer.step is not None and progress is not None:
                progress(answer.step)
            if answer.status is not None:
                self._require_same_size(_size(answer))
                return answer.status
        raise self._died()

    async def _next_line(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readline()
        except OSError:
            return b""

    def _died(self) -> HostError:
        return HostError(
            "the supervisor of the test network has ended", f"its log is {self._folders.log}"
        )

    def _require_same_size(self, running: Size) -> None:
        if running != self.size:
            raise UsageError(f"a test network with {running} is up already", "bento testnet down")

    def _ask(self, do: Do, patience: float = _PROMPT) -> Answer | None:
        """The supervisor's answer, or None if none answers. Raises HostError if the folder of
        its socket is somebody else's: then what answers there could be anything."""
        if not self._folders.run.exists():
            return None
        self._folders.require_own_run()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(patience)
            try:
                connection.connect(os.fspath(self._folders.socket))
                connection.sendall(encode(Ask(do)))
                line = connection.makefile("rb").readline(MAX_LINE)
            except OSError:
                return None
        return decode_answer(line) if line else None

    async def _clear_if_unsupervised(self) -> None:
        try:
            async with self._folders.locked("supervisor.lock", _BRIEFLY):
                await clear(self._folders)
        except HostError:
            return  # one is about to answer, or about to end


def find(home: Path | None = None) -> Testnet | None:
    """The network that is up, or None."""
    return Testnet.find(home)


def _size(answer: Answer) -> Size:
    return Size(answer.boxes, answer.relays, answer.delay_ms)


def _environment() -> dict[str, str]:
    """Ours, with nothing that depends on the current folder."""
    path = os.environ.get("PYTHONPATH", "")
    absolute = os.pathsep.join(str(Path(p).absolute()) for p in path.split(os.pathsep) if p)
    return {**os.environ, "PYTHONPATH": absolute}


def _has_ended(lifeline: int) -> bool:
    """Whether the other end of the pipe is closed everywhere."""
    try:
        return os.read(lifeline, 1) == b""
    except BlockingIOError:
        return False
