"""Browser, the part on a box that leaves the page in a dropbox on another box, for a reader to come.

The caller hands over a ticket that is good for one put and no more, and the key that the reader has: so
this box, which has seen the page anyway, never meets the reader, and the dropbox's box, which the
reader visits, never sees the page. The same answer that a caller would get is what waits there.
"""

import hashlib
import time
from collections.abc import Iterator
from typing import Any

from bento.errors import BoxError

from .pack import Failure, Pack
from .packing import encode, zeros
from .sealing import Content, seal
from .sizes import warm_up

NAME = "page."
"""What a page is called in its dropbox; the set of sizes it is padded to stands behind it."""

_PROOF = hashlib.sha256().digest_size
_PAUSE = 2.0  # seconds
_OFFSET = 8  # bytes that a dropbox says first: how much of the file it has


def leave(
    dropbox: Any, url: str, blocks: list[bytes], padding: str, key: bytes, gets: int, room: int
) -> None:
    """Puts the answer about `url` into the dropbox; if it does not fit, an answer that says so.

    Raises BoxError when that cannot be done."""
    page = Page(blocks)
    if page.sealed(padding).sealed_size > room:
        page = Page([*zeros(warm_up(padding)), *encode(_too_large(url, room), padding)])
    put(dropbox, page, padding, key, gets)


class Page:
    """An answer in its dropbox."""

    def __init__(self, blocks: list[bytes]) -> None:
        self.blocks = blocks

    def sealed(self, padding: str) -> Content:
        """What it is as a file."""
        digest = hashlib.sha256()
        for block in self.blocks:
            digest.update(block)
        size = sum(map(len, self.blocks))
        return Content(NAME + padding, size, digest.digest(), size)


def _too_large(url: str, room: int) -> Pack:
    failure = Failure("size", f"the page does not fit into the {room} bytes of its dropbox")
    return Pack(url=url, date=int(time.time()), failure=failure)


def put(dropbox: Any, page: Page, padding: str, key: bytes, gets: int) -> None:
    """The page into the dropbox; again if the way there broke. Raises BoxError."""
    try:
        _put(dropbox, page, padding, key, gets)
    except BoxError:
        time.sleep(_PAUSE)
        _put(dropbox, page, padding, key, gets)


def _put(dropbox: Any, page: Page, padding: str, key: bytes, gets: int) -> None:
    """Under a `key` that seals nothing else: again the same is the same bytes."""
    content = page.sealed(padding)
    digest = hashlib.sha256()
    with dropbox.invoke("put", size=content.sealed_size, gets=gets) as call:
        for block in _hashed(seal(key, content, page.blocks), digest):
            call.send(block)
        call.close_input()
        said = call.read(most=_OFFSET + _PROOF)
    if said[_OFFSET:] != digest.digest():
        raise BoxError("the dropbox stored something else than it was sent")


def _hashed(blocks: Iterator[bytes], digest: Any) -> Iterator[bytes]:
    for block in blocks:
        digest.update(block)
        yield block
