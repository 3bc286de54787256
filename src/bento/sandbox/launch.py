"""Runs bubblewrap: exec, then its options through a pipe, then what it tells of the process inside.

Until `proceed` bubblewrap waits for its options: the time in which it gets its limits.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import ExitStack

from bento.errors import HostError
from bento.sandbox import bubblewrap, loader, rlimits, seccomp
from bento.sandbox.descriptors import Pipe, memory_file, read_all
from bento.sandbox.images import Image
from bento.sandbox.limits import Limits
from bento.sandbox.process import parent
from bento.sandbox.uids import Uid

_PYTHON = "/usr/bin/python3"
_INFO_LIMIT = 4096  # bytes; bubblewrap writes about 200


class Launch:
    """One run of bubblewrap. Its descriptors are closed with `stack`."""

    def __init__(self, image: Image, limits: Limits, stack: ExitStack, *, grouped: bool) -> None:
        self._option_pipe = stack.enter_context(Pipe())
        self._info = stack.enter_context(Pipe())
        self._seccomp = stack.enter_context(memory_file(seccomp.program(image.profile)))
        self._files = {path: stack.enter_context(memory_file(data)) for path, data in image.files}
        self._command = [
            *(_PYTHON, "-I", "-S", "-c"),
            loader.text(rlimits.values(limits, grouped=grouped), seccomp.seal(image.profile)),
        ]
        self._options = bubblewrap.options(
            image,
            limits,
            info=self._info.writer,
            seccomp=self._seccomp,
            files=self._files,
        )
        self._child = 0

    def start(self, standard: tuple[int, int, int], uid: Uid | None) -> subprocess.Popen[bytes]:
        """Starts bubblewrap as `uid`, with `standard` as its descriptors 0, 1 and 2.

        Raises HostError if there is no bubblewrap.
        """
        number = uid.number if uid else None
        try:
            child: subprocess.Popen[bytes] = subprocess.Popen(
                [bubblewrap.PROGRAM, "--args", str(self._option_pipe.reader), *self._command],
                stdin=standard[0],
                stdout=standard[1],
                stderr=standard[2],
                pass_fds=(
                    self._option_pipe.reader,
                    self._info.writer,
                    self._seccomp,
                    *self._files.values(),
                ),
                env={},
                cwd="/",
                user=number,
                group=number,
                extra_groups=None if number is None else [],
            )
        except FileNotFoundError:
            raise HostError("bubblewrap is missing", "apt-get install bubblewrap") from None
        self._option_pipe.close_reader()
        self._info.close_writer()
        self._child = child.pid
        return child

    def proceed(self) -> None:
        """Gives bubblewrap its options."""
        os.write(self._option_pipe.writer, "\0".join(self._options).encode())
        self._option_pipe.close_writer()

    async def first_process(self) -> int:
        """The machine's number of the sandbox's process 1. Raises HostError if it never came."""
        text = await read_all(self._info.reader, _INFO_LIMIT)
        try:
            pid = int(json.loads(text)["child-pid"])
            if parent(pid) == self._child:
                return pid
        except (ValueError, LookupError):  # no or half an answer; ended since
            pass
        raise HostError("bubblewrap ended before the sandbox was made")
