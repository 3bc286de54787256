"""A Chromium that only this process can drive, from its start (bento.guest.chromium, or launch.py at home)
to its end; the same in both halves. Standard library only.
"""

import contextlib
import os
import shutil
import signal
import threading
import time
from typing import Self

from bento.guest.chromium import Program

from .cdp import Connection

MEMORY = "it may need more memory than the function has"

STOP_SECONDS = 5.0
LAST_WORDS_SECONDS = 0.5
TAIL_BYTES = 2000


class Chromium:
    """One running Chromium. `close` leaves nothing of it behind, its folder included."""

    def __init__(self, program: Program) -> None:
        self.pid = program.pid
        self.connection = Connection(program.reader, program.writer)
        self._home = program.home
        self._tail = bytearray()
        self._killed = self._closed = False
        self._last_words = threading.Thread(
            target=self._keep_tail, args=(program.errors,), daemon=True
        )
        self._last_words.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep_tail(self, errors: int) -> None:
        """Reads what Chromium complains about, so that it never blocks, and keeps the end of it."""
        with open(errors, "rb", buffering=0) as stream:
            while data := stream.read(4096):
                self._tail += data
                del self._tail[:-TAIL_BYTES]

    def obituary(self) -> str:
        """How it ended, in words, once its pipe is closed: a signal, or a status and its last line."""
        until = time.monotonic() + STOP_SECONDS
        while (ended := self._ended()) is None and time.monotonic() < until:
            time.sleep(0.02)
        return f"Chromium ended {ended or 'without a word'}"

    def _ended(self) -> str | None:
        try:
            seen = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return ""
        if seen is None:
            return None
        if seen.si_code == os.CLD_EXITED:
            return f"with status {seen.si_status}{self._last_line()}"
        hint = f" ({MEMORY})" if seen.si_status == signal.SIGKILL else ""
        return f"by signal {seen.si_status}{hint}"

    def _last_line(self) -> str:
        self._last_words.join(LAST_WORDS_SECONDS)
        lines = self._tail.decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def kill(self) -> None:
        """Kills the whole process group; it has nothing worth an orderly end."""
        if not self._killed:
            self._killed = True
            self.connection.close()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kills it, and returns once nothing of it is left."""
        if self._closed:
            return
        self._closed = True
        self.kill()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._remove_home()

    def _remove_home(self) -> None:
        """A renderer that is just dying may still write, so once more if need be."""
        for _ in range(2):
            if self._home:
                shutil.rmtree(self._home, ignore_errors=True)
