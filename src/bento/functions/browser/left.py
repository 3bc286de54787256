"""Browser, the part at home, for a page that waits in a dropbox: have it left there, and fetch it later.

    here  --install, narrowed ticket, key-->  Browser's box  --sealed page-->  dropbox's box  -->  the reader

Browser's box knows the page and not the reader; the dropbox's box knows that somebody fetched so many
sealed bytes. Both are reached over circuits of their own, at different times.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bento.errors import RemoteProtocolError, UsageError
from bento.functions.dropbox import transfer
from bento.functions.dropbox.sealing import KEY
from bento.functions.dropbox.sink import Receiver
from bento.protocol.caveats import Bytes, NotAfter, Uses
from bento.protocol.manifest import amended, manifest_text

from .client import build_upload, read_pack
from .leaving import NAME
from .pack import Pack
from .sizes import MIB, SIZE_SETS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bento.client.box import Box
    from bento.client.instance import Instance
    from bento.functions.dropbox.sealing import Content
    from bento.protocol.ticket import Ticket

ROOM = 32 * MIB
"""Bytes of a page with its padding that a dropbox takes: all of 101 Debian pages fit into a quarter."""

_SECONDS = 900
"""How long Browser may put the page: its own lifetime of ten minutes, and air."""

_USES = 2
"""Sessions with the dropbox that Browser may begin: one puts the page, a second if the first was lost."""

_NAME = 16


@dataclass(frozen=True)
class Left:
    """`ticket` is the reader's; `dropbox` ends the dropbox."""

    ticket: Ticket
    dropbox: Instance


async def leave(browser: Box, dropbox: Box, words: dict[str, str], rules: transfer.Rules) -> Left:
    """Has the page that `words` ask for left in a dropbox. Returns once Browser has begun: from there on
    nobody is needed here. Raises PolicyError when Browser's box lets it use no other box."""
    if browser.name.key_hash == dropbox.name.key_hash:
        raise UsageError(
            "Browser and the dropbox are to be on different boxes",
            "one that has both sees the page and when it is fetched",
        )
    waiting = await transfer.install(dropbox, ROOM, rules)
    try:
        key = secrets.token_bytes(KEY)
        given = waiting.ticket.narrow(
            Uses(secrets.token_bytes(8), _USES),
            Bytes(secrets.token_bytes(8), 2 * ROOM),
            NotAfter(int(time.time()) + _SECONDS),
        )
        await _begin(browser, words, given, key, rules.gets)
    except BaseException:
        await waiting.shutdown()
        raise
    return Left(replace(waiting.ticket, decryption=key), waiting)


async def _begin(browser: Box, words: dict[str, str], given: Ticket, key: bytes, gets: int) -> None:
    upload = build_upload()
    terms = amended(manifest_text(upload), boxes=1)
    instance = await browser.install(upload, manifest=terms)
    call: dict[str, Any] = {
        **words,
        "leave": given.encode(),
        "key": key,
        "gets": gets,
        "room": ROOM,
    }
    session = await instance.invoke(**call)
    await session.started()
    await session.detach()


async def bring(box: Box, ticket: Ticket) -> Pack:
    """The page that waits at a ticket. Raises FunctionError while it is not there yet, and
    RemoteProtocolError when what is there is no page, or not what Browser sealed."""
    if not ticket.decryption:
        raise UsageError("this ticket names nothing that waits", "bento get tells of other tickets")
    page = _Memory()
    receiver = Receiver(ticket.decryption, page.open, lambda content: None)
    name = secrets.token_bytes(_NAME)
    await transfer.load(box.instance(ticket), name, receiver.begin(None), receiver.take)
    assert receiver.content is not None
    padding = receiver.content.name.removeprefix(NAME)
    if padding not in SIZE_SETS or not receiver.content.name.startswith(NAME):
        raise RemoteProtocolError("what waits there is no page", "bento get fetches files")
    return await read_pack(page.pieces(), padding)


class _Memory:
    """Where a page is kept while it is fetched (a dropbox.sink.Sink)."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.size = 0

    def open(self, content: Content) -> _Memory:
        """Raises RemoteProtocolError for what is larger than any page that was left."""
        if content.size > ROOM:
            raise RemoteProtocolError("what waits there is larger than any page", "use bento get")
        return self

    def keep(self, size: int) -> None:
        del self._bytes[size:]
        self.size = size

    def write(self, data: bytes) -> None:
        self._bytes += data
        self.size += len(data)

    def sha256(self) -> bytes:
        return hashlib.sha256(self._bytes).digest()

    def finish(self) -> None:
        """It is whole."""

    def close(self) -> None:
        """Nothing is held but memory."""

    async def pieces(self) -> AsyncIterator[bytes]:
        yield bytes(self._bytes)
