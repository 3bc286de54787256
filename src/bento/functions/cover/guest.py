# /// bento
# memory = "64 MiB"
# cpu = 0.5
# lifetime = "1h"
# spool = "1 MiB"
# ///
"""Cover, the part that runs on a box: a frame in each slot, and the far ends of the covered streams.

A stream leads to another box, as a function's own do (docs/composition.md): what is installed there counts
as Cover's. Whoever installs Cover for a command asks for that beside the manifest above
(`terms.manifest_for`). Without it every stream is refused, and there is nothing but junk, as regular.

It ends when the client closes its input, when the budget is used up, when nothing came for SILENCE
seconds, or by the box at the end of its lifetime.
"""

import gc
import re
import socket
import threading
import time
from collections import deque

from bento.errors import BentoError, BoxError
from bento.guest.api import Api
from bento.guest.way_out import PORT
from bento.protocol import broker
from bento.protocol.door import Refused
from bento.protocol.wire import encode

from .ends import Ends
from .frames import CELL, FRAME, FrameError, Frames
from .garbage import left_to_slots
from .slots import Slots

NANO = 1_000_000_000
SHORTEST, LONGEST = NANO // 1000, 10 * NANO
"""Nanoseconds of a slot: in a shorter one there is no room for the work, a longer one hides nobody."""

BEHIND = 8.0
"""Seconds of frames under way; with more, slots are missed: so much leaves at once after a break."""

FEWEST_UNDER_WAY = 32

SILENCE = 120.0
"""Seconds without a frame after which there is no client any more."""

REST = 0.5
"""Of a slot: its cell has left this machine before any other work begins."""

DIALS = 8
"""Streams that are being opened at the same time."""

DIAL_SECONDS = 60.0
ANSWER = 4096
"""Bytes of the broker's answer: a name and two hashes, or a sentence."""

TARGET = re.compile(r"[0-9A-Fa-f]{40}", re.ASCII)
"""A box: the fingerprint of its relay."""


def main(api: Api, slot: int, budget: int = 0) -> None:
    """Sends a frame in each slot of so many nanoseconds, and takes what comes. `budget`: bytes in all,
    both ways, after which it ends (0: no such end)."""
    if not SHORTEST <= slot <= LONGEST or budget < 0:
        raise ValueError(f"a slot has {SHORTEST} to {LONGEST} nanoseconds")
    slots = Slots(slot, blocking=True)
    try:
        with left_to_slots():
            FarEnd(api, NANO / slot, budget).run(slots)
    except FrameError as error:
        raise ValueError(f"the client does not keep to the frames: {error}") from None
    finally:
        slots.close()


class FarEnd:
    """The covered stream's end on the box."""

    def __init__(self, api: Api, rate: float, budget: int) -> None:
        self._api = api
        self._rest = REST / rate
        self._most = max(FEWEST_UNDER_WAY, int(rate * BEHIND))
        self._frames_left = budget // CELL if budget else -1
        self._frames = Frames(opens=False)
        self._ends = Ends(self._frames, on_open=self._open)
        self._dialled: deque[tuple[int, socket.socket | str]] = deque()
        self._dialling = threading.Semaphore(DIALS)
        self._input = bytearray()
        self._heard = time.monotonic()

    def run(self, slots: Slots) -> None:
        ready = self._frames.seal(self._frames.next())
        try:
            while self._frames_left:
                slots.begun()
                if self._send(ready):
                    ready = b""
                time.sleep(self._rest)  # lets the guest's own thread send it before anything else
                arrived = self._arrived()
                if arrived is None or time.monotonic() - self._heard > SILENCE:
                    return
                self._join()
                self._ends.turn(arrived)
                ready = ready or self._frames.seal(self._frames.next())
                gc.collect()
        finally:
            self._ends.close()

    def _send(self, frame: bytes) -> bool:
        """False if this slot is missed: the client has not got enough of what was sent before."""
        if self._frames.under_way > self._most:
            return False
        try:
            self._api.send(frame, timeout=0)
        except TimeoutError:
            return False
        self._count(1)
        return True

    def _arrived(self) -> list[bytes] | None:
        """The frames that came; None when the client wants no more."""
        while self._api.poll(0):
            data = self._api.recv(timeout=0)
            if not data:
                return None
            self._input += data
            self._heard = time.monotonic()
        whole = len(self._input) // FRAME
        frames = [bytes(self._input[at * FRAME : (at + 1) * FRAME]) for at in range(whole)]
        del self._input[: whole * FRAME]
        self._count(whole)
        return frames

    def _count(self, frames: int) -> None:
        if self._frames_left > 0:
            self._frames_left = max(0, self._frames_left - frames)

    # -- streams ---------------------------------------------------------------------------------

    def _open(self, stream: int, target: bytes) -> None:
        name = target.decode("ascii", "replace")
        if not TARGET.fullmatch(name):
            self._ends.refuse(stream, "a covered stream leads to a box, named by its fingerprint")
        elif not self._dialling.acquire(blocking=False):
            self._ends.refuse(stream, f"{DIALS} streams are being opened already")
        else:
            threading.Thread(target=self._dial, args=(stream, name), daemon=True).start()

    def _dial(self, stream: int, name: str) -> None:
        try:
            self._dialled.append((stream, dial(name)))
        except (OSError, BentoError) as error:
            self._dialled.append((stream, f"the box cannot be reached from there: {error}"))
        finally:
            self._dialling.release()

    def _join(self) -> None:
        while self._dialled:
            stream, result = self._dialled.popleft()
            if isinstance(result, str):
                self._ends.refuse(stream, result)
            else:
                self._ends.accept(stream, result)


def dial(name: str) -> socket.socket:
    """A stream to the box of this name, which this box carries (protocol.broker).

    Raises OSError, BentoError."""
    try:
        sock = socket.create_connection(("127.0.0.1", PORT), DIAL_SECONDS)
    except ConnectionRefusedError:
        raise BoxError("this Cover was installed without a way to other boxes") from None
    try:
        sock.sendall(encode(broker.Reach(name)))
        reader = broker.guest_reader()
        while data := sock.recv(ANSWER):
            for said in reader.feed(data):
                if isinstance(said, Refused):
                    raise said.error()
                return sock
        raise BoxError("the Cover's own box hung up")
    except BaseException:
        sock.close()
        raise
