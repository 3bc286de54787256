"""A function on its author's own machine, without Tor and without any sandbox: `bento run --local`."""

from __future__ import annotations

import hashlib
import os
import select
import sys
import tempfile
import time
from typing import NoReturn

from bento.errors import FunctionError, UsageError
from bento.guest.api import Api, Limits
from bento.guest.function import Function, describe
from bento.protocol.manifest import Manifest, manifest_text


class _NoBox:
    """What `api.boxes` is where no box is in between."""

    def boxes(self, expires: int) -> NoReturn:
        raise UsageError("there are no other boxes without Tor", "run it without --local")


class LocalSession:
    """stdin is the input, stdout the answer, stderr the log."""

    def write(self, data: bytes, timeout: float | None = None) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def read(self, size: int | None, timeout: float | None) -> bytes:
        if not self.poll(timeout):
            raise TimeoutError("no input within the time given")
        return os.read(0, size or 1 << 16)

    def poll(self, timeout: float | None) -> bool:
        return bool(select.select([0], [], [], timeout)[0])

    def log(self, line: str) -> None:
        print(f"| {line}", file=sys.stderr)

    def end(self) -> None:
        """There is no instance beyond this one call."""


def run_local(upload: bytes, args: list[object], kwargs: dict[str, object]) -> int:
    """Calls `main` in this very process. Raises FunctionError with the traceback when it fails."""
    manifest = Manifest.parse(manifest_text(upload))
    limits = Limits(manifest.memory, manifest.disk, manifest.network)
    with tempfile.TemporaryDirectory() as folder:
        function = Function(hashlib.sha256(upload).digest(), len(upload))
        function.begin(len(upload), 0)
        function.append(upload)
        function.verify()
        ends = int(time.time()) + manifest.lifetime
        api = Api(LocalSession(), f"{folder}/data", limits, ends, None, _NoBox())
        try:
            function.load()
            function.call(api, args, kwargs, text=True)
        except FunctionError:
            raise
        except Exception as error:
            detail, traceback = describe(error)
            failed = FunctionError(detail)
            failed.add_note(traceback)
            raise failed from None
    return 0
