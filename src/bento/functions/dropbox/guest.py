# /// bento
# memory = "112 MiB"
# disk = "16 MiB"
# lifetime = "1d"
# spool = "1 MiB"
# ///
"""Dropbox, the part that runs on a box: keeps one file until it was fetched often enough.

    put      takes the file; a put that broke off goes on where it stopped
    get      gives it, from any byte on, to several at once
    status   what is left, as JSON

It ends by itself (the file deleted, the instance shut down) after `gets` gets were confirmed or `max_bytes`
bytes were served, and by the box at the end of its lifetime. The file is sealed before it comes here
(sealing.py): this program could not read it if it wanted to.

The manifest above is for a small file; whoever installs it asks for the memory and disk its file needs.
"""

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bento.errors import FunctionError
from bento.guest.api import Api

PIECE = 256 * 1024
"""Bytes read from the file at once."""

AT_ONCE = 8
"""Gets at the same time: each has a thread and a buffer of its own."""

MAX_GETS = 10_000
"""Counted gets at most: each is remembered."""

IDLE_SECONDS = 120
"""How long a put waits for more input, and a get for somebody to fetch what it sent or to say that all of
it arrived. A client that was killed can resume at once, and no later than this makes room for others."""

CONFIRMED = b"\x01"


def main(api: Api, do: str, **words: Any) -> str | None:
    """`do` is put, get or status; the words are the arguments of the function of that name."""
    if do not in OPERATIONS:
        raise FunctionError(f"there is no {str(do)[:20]!r} in a dropbox", "put, get or status")
    return OPERATIONS[do](api, **words)


def put(api: Api, size: int, gets: int = 0, max_bytes: int = 0) -> None:
    """Takes `size` bytes. Sends first how many of them it has already (8 bytes), so that the sender
    goes on there; and last the SHA-256 of all. 0 gets or max_bytes: no such limit."""
    turn, received = drop.begin(api, size, gets, max_bytes)
    api.send(received.to_bytes(8, "big"))
    while received < size:
        piece = api.recv(PIECE, timeout=IDLE_SECONDS)
        if not piece:
            raise FunctionError("the file ended before its announced size", "put it again")
        received = drop.append(turn, piece)
    api.send(drop.hash.digest())


def get(api: Api, name: bytes = b"", offset: int = 0, size: int = 0) -> None:
    """Sends the file from byte `offset` on, `size` bytes of it or (0) all; then waits for the word that
    the whole arrived.

    `name` is the fetcher's own: gets of the same name are one get that was resumed."""
    fetch = drop.admit(name)
    try:
        with drop.path.open("rb") as file:
            file.seek(offset)
            left = size or drop.size
            while piece := file.read(min(left, PIECE)):
                drop.spend(fetch, len(piece))
                api.send(piece, timeout=IDLE_SECONDS)
                left -= len(piece)
        if not size:
            fetch.confirmed |= api.recv(1, timeout=IDLE_SECONDS) == CONFIRMED
    finally:
        drop.leave()
        if drop.is_over():
            drop.path.unlink(missing_ok=True)
            api.end()


def status(api: Api) -> str:
    """What is stored and what is left, as JSON."""
    return json.dumps(drop.describe(api))


class Fetch:
    """One get, however often it was resumed."""

    def __init__(self) -> None:
        self.sent = 0
        self.confirmed = False


class Drop:
    """The file of this instance, and who has had it. Calls come from several threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.hash = hashlib.sha256()
        self.path = Path()
        self.begun = False
        self.size = self.received = self.served = 0
        self.gets = self.max_bytes = 0
        self.turn = self.active = 0
        self.fetches: dict[bytes, Fetch] = {}

    def begin(self, api: Api, size: int, gets: int, max_bytes: int) -> tuple[int, int]:
        """A put begins or goes on: (its turn, bytes here already). An earlier one may write no more."""
        with self.lock:
            if not self.begun:
                if not 0 < size <= api.limits.disk or not 0 <= gets <= MAX_GETS or max_bytes < 0:
                    raise FunctionError(
                        f"a file of {size} bytes for {gets} gets cannot be kept here",
                        f"this dropbox holds {api.limits.disk} bytes and counts to {MAX_GETS}",
                    )
                self.path = api.data / "file"
                self.path.write_bytes(b"")
                self.begun = True
                self.size, self.gets, self.max_bytes = size, gets, max_bytes
            elif size != self.size:
                raise FunctionError("another file is in this dropbox", "install another one")
            self.turn += 1
            return self.turn, self.received

    def append(self, turn: int, piece: bytes) -> int:
        """Stores the next bytes; how many there are now."""
        with self.lock:
            if turn != self.turn:
                raise FunctionError("another put has taken over")
            if self.received + len(piece) > self.size:
                raise FunctionError("more bytes came than were announced")
            with self.path.open("ab") as file:
                file.write(piece)
            self.hash.update(piece)
            self.received += len(piece)
            return self.received

    def admit(self, name: bytes) -> Fetch:
        """The get of that name, new or resumed. Raises when there is no more to be had."""
        with self.lock:
            if not self.begun or self.received < self.size:
                raise FunctionError("the file is not here yet", "ask its sender to finish the put")
            if self.active >= AT_ONCE:
                raise FunctionError(f"{AT_ONCE} gets are under way already", "try again soon")
            fetch = self.fetches.get(name) if self.gets else Fetch()
            if fetch is None:
                if len(self.fetches) >= self.gets:
                    raise FunctionError(f"its {self.gets} gets are all taken", "ask the sender")
                fetch = self.fetches[name] = Fetch()
            self.active += 1
            return fetch

    def spend(self, fetch: Fetch, count: int) -> None:
        """Counts bytes about to be sent. A get that resumes may be sent the file twice in all."""
        with self.lock:
            if fetch.sent + count > 2 * self.size:
                raise FunctionError("this get was sent the file twice already", "ask for another")
            if self.max_bytes and self.served + count > self.max_bytes:
                self.served = self.max_bytes
                raise FunctionError("it has served all the bytes it was put for", "ask the sender")
            fetch.sent += count
            self.served += count

    def leave(self) -> None:
        with self.lock:
            self.active -= 1

    def is_over(self) -> bool:
        """Nobody will get more. A get that was not confirmed may still be resumed."""
        with self.lock:
            fetched = self.gets and self.gets == len(self.fetches)
            spent = self.max_bytes and self.served >= self.max_bytes
            done = fetched and all(fetch.confirmed for fetch in self.fetches.values())
            return bool(done or (spent and self.active == 0))

    def describe(self, api: Api) -> dict[str, int | None]:
        with self.lock:
            return {
                "size": self.size,
                "stored": self.received,
                "disk": api.limits.disk,
                "gets": self.gets,
                "gets_left": self.gets - len(self.fetches) if self.gets else None,
                "max_bytes": self.max_bytes,
                "served": self.served,
                "expires": api.expires,
            }


drop = Drop()
OPERATIONS: dict[str, Callable[..., str | None]] = {"put": put, "get": get, "status": status}
