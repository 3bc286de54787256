"""One tor process: written, started, watched, stopped.

Invariant: a tor that this object started is gone after `stop`, and a tor that dies by itself is
noticed at once and named with the last thing it said. Its output is read always and kept in a
bounded tail, so that it can neither block tor nor fill memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bento.errors import HostError, TorError, UsageError
from bento.tor.control_codec import Event, parse_arguments, quote
from bento.tor.controller import Controller

# glibc otherwise keeps the two 30 MiB blocks of tor's LZMA encoder: 60 MiB -> 3 MiB private.
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
_TAIL_LINES = 200
_TAIL_LINE_LENGTH = 1000
_READ = 65536  # a pipe holds no more (pipe(7))
# sun_path of sockaddr_un without its closing NUL (unix(7)).
_SOCKET_PATH_LIMIT = 107
_POLL = 0.02  # seconds between two looks at a tor that opens its control socket
_STEP = 5.0  # seconds that each signal has before the next, stronger one
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_LOG_PREFIX = re.compile(r"^[A-Z][a-z]{2} \d\d [\d:.]+ \[(?P<severity>[a-z]+)\] ")

# Hears (percent, what tor does now).
Progress = Callable[[int, str], None]
_T = TypeVar("_T")


class TorProcess:
    """A tor with its own data directory and a control socket, in it or at `control_socket`.

    `torrc` is what the caller wants: lines, or (option, value) pairs. Added are DataDirectory,
    the control socket with a cookie, a log on standard output and, unless `owned` is false,
    `__OwningControllerProcess`: then tor ends within 15 s if this process is killed.
    Nothing of the machine's own torrc or defaults is read.

    `exited` is done, with the exit status (negative: the signal), when tor has ended.
    """

    def __init__(
        self,
        torrc: Sequence[tuple[str, str] | str],
        data_directory: Path,
        name: str,
        *,
        owned: bool = True,
        program: str = "tor",
        control_socket: Path | None = None,
    ) -> None:
        self.name = name
        self.data_directory = data_directory
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._torrc = [_option(line) for line in torrc]
        self._control_socket = control_socket or data_directory / "control"
        self._owned = owned
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._output: int | None = None
        self._tail = _Tail()
        self._controllers: list[Controller] = []

    async def __aenter__(self) -> TorProcess:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        """The process id. UsageError before `start`."""
        if self._process is None:
            raise UsageError(f"tor {self.name} was not started")
        return self._process.pid

    @property
    def control_address(self) -> str:
        """For `Controller.connect`."""
        return f"unix:{self._control_socket}"

    @property
    def tail(self) -> list[str]:
        """The last lines that tor wrote."""
        return list(self._tail.lines)

    async def start(self) -> None:
        """Start tor and wait until its control socket answers.

        Raises TorError with tor's own words if it refuses its configuration, HostError if there
        is no tor program or the directory cannot be used.
        """
        if self._process is not None:
            raise UsageError(f"tor {self.name} was started before")
        program = shutil.which(self._program)
        if program is None:
            raise HostError("there is no tor on this machine", "apt-get install tor")
        await self._refuse_a_second_one()
        self._spawn([program, *self._write_files()])
        try:
            control = await self._unless_exited(self._poll_control())
            await control.close()
        except BaseException:
            await self.stop()
            raise

    async def controller(self) -> Controller:
        """A new, authenticated control connection; `stop` closes it at the latest."""
        controller = await Controller.connect(self.control_address)
        try:
            await controller.authenticate()
        except BaseException:
            await controller.close()
            raise
        self._controllers = [c for c in self._controllers if not c.closed.done()] + [controller]
        return controller

    async def bootstrapped(self, progress: Progress | None = None) -> None:
        """Wait until tor can build circuits; `progress` hears each step.

        No time limit of its own: put it under `asyncio.timeout`. Raises TorError if tor dies.
        """
        done = asyncio.Event()

        def report(words: Mapping[str, str]) -> None:
            percent = int(words["PROGRESS"])
            if progress is not None:
                progress(percent, words.get("SUMMARY", ""))
            if percent == 100:
                done.set()

        def hear(event: Event) -> None:
            if event.positional[1:2] == ("BOOTSTRAP",) and "PROGRESS" in event.keywords:
                report(event.keywords)

        async with await self.controller() as controller:
            await controller.subscribe({"STATUS_CLIENT"}, hear)
            phase = await controller.get_info("status/bootstrap-phase")
            report(parse_arguments(phase["status/bootstrap-phase"])[1])
            await self._unless_exited(done.wait())

    async def stop(self) -> None:
        """End tor: asked politely, then firmly, then killed. Safe to call twice."""
        while self._controllers:
            await self._controllers.pop().close()
        if self._process is None:
            return
        try:
            for number in _SIGNALS:
                if not self.exited.done():
                    self._process.send_signal(number)
                    await asyncio.wait([self.exited], timeout=_STEP)
            await self.exited
        except asyncio.CancelledError:
            self._process.kill()
            raise

    def failure(self) -> TorError:
        """What happened to a tor that has ended, in its own last words."""
        status = self.exited.result() if self.exited.done() else 0
        how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        return TorError(f"tor {self.name} {how}: {self._tail.last_words()}")

    # -- inside ------------------------------------------------------------------------------

    async def _refuse_a_second_one(self) -> None:
        try:
            other = await Controller.connect(self.control_address)
        except TorError:
            return
        await other.close()
        raise TorError(
            f"another tor is running in {self.data_directory}", "stop it, or use another folder"
        )

    def _write_files(self) -> list[str]:
        """The torrc, and an empty one for the defaults; returns tor's arguments."""
        if len(os.fsencode(self._control_socket)) > _SOCKET_PATH_LIMIT:
            raise HostError(
                f"the path {self._control_socket} is too long for a socket",
                f"it may have {_SOCKET_PATH_LIMIT} bytes: use a shorter folder",
            )
        torrc, empty = self.data_directory / "torrc", self.data_directory / "torrc-defaults"
        try:
            self.data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            torrc.write_text("\n".join([*self._own_options(), *self._torrc, ""]))
            # An empty file: tor refuses /dev/null, and with none it reads the machine's defaults.
            empty.write_text("")
            self._control_socket.unlink(missing_ok=True)
        except OSError as error:
            raise HostError(f"cannot use {self.data_directory} for tor: {error.strerror}") from None
        return ["-f", str(torrc), "--defaults-torrc", str(empty)]

    def _own_options(self) -> list[str]:
        options = [
            ("DataDirectory", str(self.data_directory)),
            ("ControlSocket", str(self._control_socket)),
            ("CookieAuthentication", "1"),
            ("Log", "notice stdout"),
        ]
        if self._owned:
            options.append(("__OwningControllerProcess", str(os.getpid())))
        return [_option(option) for option in options]

    def _spawn(self, arguments: list[str]) -> None:
        self._output, write_end = os.pipe()
        os.set_blocking(self._output, False)
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                env={**os.environ, **_ENVIRONMENT},
                # Ctrl-C on a terminal is for us: we stop tor in our own order.
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._output)
            raise HostError(f"cannot start tor {self.name}: {error.strerror}") from None
        finally:
            os.close(write_end)
        loop = asyncio.get_running_loop()
        pidfd = os.pidfd_open(self._process.pid)
        loop.add_reader(self._output, self._read_output)
        loop.add_reader(pidfd, self._reap, pidfd)

    def _read_output(self) -> None:
        if self._output is None:
            return
        with contextlib.suppress(BlockingIOError):
            if data := os.read(self._output, _READ):
                self._tail.feed(data)
                return
            self._close_output()

    def _close_output(self) -> None:
        if self._output is not None:
            asyncio.get_running_loop().remove_reader(self._output)
            os.close(self._output)
            self._output = None

    def _reap(self, pidfd: int) -> None:
        assert self._process is not None
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        status = self._process.wait()
        # Its last words are still in the pipe, all of them in one read.
        self._read_output()
        self._close_output()
        if not self.exited.done():
            self.exited.set_result(status)

    async def _poll_control(self) -> Controller:
        while True:
            with contextlib.suppress(TorError):
                return await self.controller()
            await asyncio.sleep(_POLL)

    async def _unless_exited(self, work: Coroutine[object, object, _T]) -> _T:
        """The result of `work`, or the failure of a tor that dies meanwhile."""
        task = asyncio.ensure_future(work)
        ends: list[asyncio.Future[Any]] = [task, self.exited]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self.exited.done():
                raise self.failure()
            return task.result()
        finally:
            task.cancel()
            await asyncio.wait([task])


class _Tail:
    """The last lines of a tor's output."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self.lines.extend(line[:_TAIL_LINE_LENGTH].decode("utf-8", "replace") for line in lines)
        self._rest = rest[:_TAIL_LINE_LENGTH]

    def last_words(self) -> str:
        """The last line, without its time; or the line that matters, if tor said more after it."""
        if not self.lines:
            return "it said nothing"
        line = self.lines[-1]
        if "see warnings above" in line:
            line = next((told for told in reversed(self.lines) if "[warn]" in told), line)
        elif "[err] Bug:" in line:  # a stack trace; what failed stands before it
            line = next(told for told in self.lines if "[err]" in told)
        return _LOG_PREFIX.sub("", line)


def _option(line: tuple[str, str] | str) -> str:
    """One torrc line. A pair's value arrives in tor as it is: `#` would begin a comment, and a
    quote or backslash an escape."""
    if isinstance(line, tuple):
        key, value = line
        plain = value == value.strip() and not any(char in value for char in '#"\\\r\n')
        line = f"{key} {value if plain else quote(value)}"
    if any(char in line for char in "\r\n\0"):
        raise UsageError("a torrc option must be one line")
    return line
