"""Cover, the part at home: the same frames from this side, and a unix socket that commands use.

A slot begins with the cell that was made ready in the slot before, and nothing else. Its work (what came,
what commands want, the next cell) is done once that cell has gone its way, in one bounded piece: so a command
that has much to say delays none.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bento.client.covered import LONGEST_LINE
from bento.errors import BentoError, RemoteProtocolError
from bento.functions.uploads import packed
from bento.protocol.manifest import manifest_text

from .ends import Ends
from .frames import CELL, FRAME, FrameError, Frames
from .garbage import left_to_slots
from .guest import BEHIND, FEWEST_UNDER_WAY, REST
from .slots import Slots
from .terms import Terms, manifest_for

if TYPE_CHECKING:
    from bento.client.box import Box
    from bento.client.instance import Instance
    from bento.client.session import Session

GUEST_FILES = ("__init__.py", "ends.py", "frames.py", "garbage.py", "guest.py", "slots.py")
"""What the function consists of; inside the upload they are the package `cover`."""

_COMMANDS = 16
"""Connections of commands that have not said yet where to."""


def build_upload() -> bytes:
    """The function as it travels."""
    return packed("bento.functions.cover", GUEST_FILES)


@dataclass(frozen=True)
class Report:
    """What an observer could have counted too: cells sent and received, and slots that were missed."""

    sent: int
    received: int
    missed: int
    seconds: float

    @property
    def bytes(self) -> int:
        """Of both ways, as the budget counts them."""
        return (self.sent + self.received) * CELL


async def begin(box: Box, terms: Terms, *, streams: bool) -> tuple[Instance, Session]:
    """A Cover on this box, whose session is for a NearEnd. With `streams` it leads to other boxes.

    Raises PolicyError when the box does not allow that."""
    upload = build_upload()
    manifest = manifest_for(manifest_text(upload), terms, streams=streams)
    instance = await box.install(upload, manifest=manifest)
    return instance, await instance.invoke(slot=terms.slot, budget=terms.budget)


class NearEnd:
    """The user's end of a Cover. `listener`: where commands connect (see client/covered.py)."""

    def __init__(
        self, session: Session, terms: Terms, listener: socket.socket | None = None
    ) -> None:
        self._session = session
        self._terms = terms
        self._listener = listener
        if listener is not None:
            listener.setblocking(False)
        self._asking: dict[socket.socket, None] = {}
        self._frames = Frames(opens=True)
        self._ends = Ends(
            self._frames,
            on_opened=lambda stream: self._ends.tell(stream, b"ok\n"),
            on_refused=lambda stream, why: self._ends.tell(stream, b"no " + why + b"\n"),
        )
        self._most = max(FEWEST_UNDER_WAY, int(terms.cells_per_second * BEHIND))
        self._input = bytearray()
        self._arrived: list[bytes] = []
        self._ready = b""
        self._rest = REST / terms.cells_per_second
        self._due = False  # the work of this slot
        self._missed = 0
        self._sent = 0
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> Report:
        """Until `stop`, the budget's or the session's end. Raises what the session raises."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        slots = Slots(self._terms.slot, blocking=False)
        self._prepare()
        reading = asyncio.create_task(self._read())
        loop.add_reader(slots.descriptor, self._slot, slots)
        try:
            with left_to_slots():
                await self._over
        finally:
            loop.remove_reader(slots.descriptor)
            slots.close()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            for sock in self._asking:
                sock.close()
            self._ends.close()
        return Report(self._sent, self._frames.received, self._missed, loop.time() - began)

    def stop(self) -> None:
        """Ends it with the present slot."""
        if not self._over.done():
            self._over.set_result(None)

    # -- a slot ----------------------------------------------------------------------------------

    def _slot(self, slots: Slots) -> None:
        begun = slots.begun()
        if not begun:
            return
        if self._may_send() and self._session.send_now(self._ready):
            self._sent += 1
            self._ready = b""
            begun -= 1
        self._missed += begun
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(self._rest, self._work)

    def _may_send(self) -> bool:
        return bool(self._ready) and self._frames.under_way <= self._most

    def _work(self) -> None:
        """Everything but the cell itself."""
        self._due = False
        if self._over.done():
            return
        try:
            self._welcome()
            arrived, self._arrived = self._arrived, []
            self._ends.turn(arrived)
            self._prepare()
            gc.collect()
        except FrameError as error:
            self._fail(RemoteProtocolError(f"the box does not keep to the cover: {error}"))
        except Exception as error:  # or it would happen again in each slot, and nobody hear of it
            self._fail(error)
        budget = self._terms.budget
        if budget and (self._sent + self._frames.received) >= budget // CELL:
            self.stop()

    def _prepare(self) -> None:
        if not self._ready:
            self._ready = self._frames.seal(self._frames.next())

    # -- what comes ------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Only puts frames aside, which is the same work for each of them."""
        try:
            async for piece in self._session:
                self._input += piece
                while len(self._input) >= FRAME:
                    self._arrived.append(bytes(self._input[:FRAME]))
                    del self._input[:FRAME]
        except BentoError as error:
            self._fail(error)
        else:
            self.stop()

    def _fail(self, error: Exception) -> None:
        if not self._over.done():
            self._over.set_exception(error)

    # -- commands --------------------------------------------------------------------------------

    def _welcome(self) -> None:
        """Takes a command's connection, and what those who wait say."""
        if self._listener is not None and len(self._asking) < _COMMANDS:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                pass
            else:
                sock.setblocking(False)
                self._asking[sock] = None
        for sock in tuple(self._asking):
            self._ask(sock)

    def _ask(self, sock: socket.socket) -> None:
        """Takes the line that says where to, and no byte behind it."""
        try:
            seen = sock.recv(LONGEST_LINE, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            seen = b""
        line, newline, _ = seen.partition(b"\n")
        if seen and not newline and len(seen) < LONGEST_LINE:
            return
        del self._asking[sock]
        try:
            if not newline:
                raise FrameError("no line")
            sock.recv(len(line) + 1)
            self._ends.open(sock, line.decode("ascii", "replace"))
        except (FrameError, OSError):
            sock.close()
