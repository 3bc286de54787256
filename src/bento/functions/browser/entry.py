"""Browser's `main` on a box: the answer goes to the caller, or into a dropbox on another box."""

from typing import Any, Protocol

from bento.guest.chromium import Program

from . import guest


class Api(Protocol):
    """What is used of the function's own."""

    boxes: Any

    def send(self, data: bytes) -> object: ...
    def chromium(self) -> Program: ...
    def end(self) -> None: ...


def main(
    api: Api,
    url: str,
    padding: str = "x2",
    timing: str = "x2",
    extras: str = "none",
    parts: bool = False,
    leave: str = "",
    key: bytes = b"",
    gets: int = 0,
    room: int = 0,
) -> None:
    """As `guest.main`; with `leave`, the ticket of a dropbox of `room` bytes, the answer goes there, sealed
    with `key`, to be fetched `gets` times (0: any number), and the instance ends."""
    if not leave:
        guest.main(api, url, padding, timing, extras, parts)
        return
    from . import leaving  # nobody else waits for a cipher

    try:
        answer = _Kept(api)
        guest.main(answer, url, padding, timing, extras)
        dropbox = api.boxes.ticket(leave)
        leaving.leave(dropbox, url, answer.blocks, padding, key, gets, room)
    finally:
        api.end()


class _Kept:
    """An answer that is kept instead of sent."""

    def __init__(self, api: Api) -> None:
        self.chromium = api.chromium
        self.blocks: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.blocks.append(data)
