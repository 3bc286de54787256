"""Boxes over a covered stream: what a command uses that `bento cover` started.

    BENTO_COVER = /path of a unix socket     the near end of a Cover (functions/cover)
    ->  FINGERPRINT newline, bytes           of the box it is to lead to, and what follows
    <-  ok newline, bytes                    it leads there
    <-  no REASON newline                    it does not

The list of boxes lies beside the socket, and when the Cover ends. What is installed over it counts as the
Cover's own (docs/composition.md): it ends with it, and after LEASE_MOST seconds, as nobody renews it.
Nothing here touches a tor: a command under Cover has no other way out, so that nothing of it is outside.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from bento.client.finder import Finder
from bento.errors import BoxError, HostError, TorError, UsageError
from bento.tor.relay_cache import load

if TYPE_CHECKING:
    from bento.client.box import Box
    from bento.client.route import Route, Stream
    from bento.tor.boxes import RelayEntry

VARIABLE = "BENTO_COVER"
"""The environment's name for the socket."""

LIST = "boxes.json"
"""The list of boxes, in the socket's folder."""

END = "end"
"""When the Cover's instance ends, in seconds since 1970; a file beside it."""

LONGEST_LINE = 512
"""Bytes of either line."""

_BUFFER = 1 << 16
_MARGIN = 10  # seconds between asking for an instance and its box's looking at it
_ANY_AGE = 7 * 86400.0  # seconds: a Cover reads the list when it begins, and none runs so long


class CoveredRoute:
    """Streams to the box of this fingerprint over the Cover at `path`."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self._path = path
        self._line = f"{fingerprint}\n".encode()

    async def open(self, early: bytes = b"") -> Stream:
        try:
            reader, writer = await asyncio.open_unix_connection(self._path, limit=_BUFFER)
        except OSError as error:
            raise HostError(
                "the cover that this command runs under has ended", "start it again"
            ) from error
        try:
            writer.write(self._line + early)
            answer = await reader.readline()
            if answer != b"ok\n":
                raise _refusal(answer)
        except BaseException:
            writer.close()
            raise
        return reader, writer

    async def close(self) -> None:
        """Nothing is held between streams."""


class CoveredNetwork(Finder):
    """All boxes that have an onion entrance, over the Cover at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def find(cls) -> CoveredNetwork | None:
        """The Cover that this process runs under, if it does."""
        path = os.environ.get(VARIABLE)
        return cls(Path(path)) if path else None

    async def close(self) -> None:
        """The Cover is not this command's."""

    async def boxes(self, *, refresh: bool = False) -> list[RelayEntry]:
        """As they were when the Cover began. Raises HostError when it has ended."""
        found = load(self._path.with_name(LIST), _ANY_AGE)
        if found is None:
            raise HostError("the cover that this command runs under has ended", "start it again")
        return [entry for entry in found if entry.announcement.onion]

    async def _route(self, entry: RelayEntry, entrance: str | None) -> Route:
        if entrance == "circuit":
            raise UsageError(
                "under cover a box is reached by its onion entrance", "leave out --entrance"
            )
        if not entry.announcement.onion:
            raise BoxError("this box has no onion entrance", "use another box under cover")
        return CoveredRoute(self._path, entry.fingerprint)

    async def _enter(self, entry: RelayEntry, entrance: str | None, *, shared: bool = False) -> Box:
        box = await super()._enter(entry, entrance, shared=shared)
        box.ends = int(self._path.with_name(END).read_text()) - _MARGIN
        return box


def _refusal(answer: bytes) -> TorError:
    reason = answer[:LONGEST_LINE].decode(errors="replace").removeprefix("no ").strip()
    return TorError(f"the covered way leads nowhere: {reason or 'the cover ended'}")
