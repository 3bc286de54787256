"""A second front of the same service, on another box, that begins when the first is gone.

    first   -> standby    a beat each BEAT_SECONDS, and what the standby needs of it when that changed
    silence for `grace`   -> the standby keeps the first one's replicas alive, and serves at its points
    standby -> first      retire: again and again, until it has or is no more

A first front that was only cut off yields so as soon as the two can talk. Until then there are two, and a
visitor gets right bytes from either: both have key and content. All of it blocks.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from bento.errors import BentoError, RemoteProtocolError
from bento.guest.knock import Broken
from bento.onion.wire import Reader, vector

BEAT_SECONDS = 1.0

MAX_BEAT = 32 << 20
"""Bytes of one beat: points with all that was seen there."""

_MAX_ENDS = 1000
_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
"""Seconds between two tries to reach the first front; the longest between two that tell it to retire."""

_ANSWER_SECONDS = 30.0


class Call(Protocol):
    """Of `guest.call.Call`."""

    def recv(self, timeout: float | None = None) -> bytes: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Shadow:
    """What a front leaves behind: its points with their keys, and the shutdown tokens of its replicas."""

    points: bytes = field(default=b"", repr=False)
    ends: tuple[str, ...] = field(default=(), repr=False)

    def pack(self) -> bytes:
        return vector(self.points, 4) + vector("\n".join(self.ends).encode(), 4)

    @classmethod
    def parse(cls, data: bytes) -> Shadow:
        """Raises RemoteProtocolError."""
        reader = Reader(data, "a front's beat")
        points, ends = reader.vector(4), reader.vector(4)
        reader.end()
        lines = tuple(ends.decode("ascii", "replace").split("\n")) if ends else ()
        if len(lines) > _MAX_ENDS:
            raise RemoteProtocolError("a front names more replicas than there can be")
        return cls(points, lines)


def beat(shadow: Shadow | None) -> bytes:
    """As it is sent; None: nothing has changed."""
    return vector(shadow.pack() if shadow else b"", 4)


class Beats:
    """Bytes -> what changed with each beat, or None."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Shadow | None]:
        """Raises RemoteProtocolError."""
        self._held += data
        found: list[Shadow | None] = []
        while len(self._held) >= 4:
            size = int.from_bytes(self._held[:4], "big")
            if size > MAX_BEAT:
                raise RemoteProtocolError("a front's beat is too large")
            if len(self._held) < 4 + size:
                break
            found.append(Shadow.parse(bytes(self._held[4 : 4 + size])) if size else None)
            del self._held[: 4 + size]
        return found


def beats(
    send: Callable[[bytes], None], shadow: Callable[[], Shadow], ends: Callable[[], bool]
) -> None:
    """The first front's side of it, until it `ends` by its owner's word."""
    last = None
    while not ends():
        now = shadow()
        send(beat(None if now == last else now))
        last = now
        time.sleep(BEAT_SECONDS)


def follow(call: Callable[[], Call], grace: float, begun: Callable[[], None]) -> Shadow | None:
    """What the first front left behind, once it was silent for `grace` seconds; None when its owner ended
    it. `begun` is called when it was heard first."""
    until, shadow, first = time.monotonic() + grace, Shadow(), True
    while (left := until - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError, BentoError), _talking(call) as session:
            heard = Beats()
            while data := session.recv(max(0.0, until - time.monotonic())):
                for said in heard.feed(data):
                    until, shadow = time.monotonic() + grace, said or shadow
                if first:
                    begun()
                    first = False
            return None
        time.sleep(min(_PAUSE, left))
    return shadow


def retire_first(call: Callable[[], Call]) -> None:
    """Until the first front has heard that it is not wanted any more, or its box says that it is gone."""
    pause = _PAUSE
    while True:
        try:
            with _talking(call) as session:
                session.recv(_ANSWER_SECONDS)
            return
        except (TimeoutError, Broken):
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        except BentoError:
            return


@contextlib.contextmanager
def _talking(call: Callable[[], Call]) -> Iterator[Call]:
    """Saying goodbye to one that is gone takes its time: nobody waits for it."""
    session = call()
    try:
        yield session
    finally:
        threading.Thread(target=session.close, daemon=True).start()
