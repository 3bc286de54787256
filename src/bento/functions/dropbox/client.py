"""Dropbox, the part at home: a file becomes a ticket, and a ticket a file. Both go on after a kill.

Knows boxes, not how to reach them. One block of the file is held at a time, whatever its size.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bento.client.owners import recall, remember
from bento.errors import BoxError, HostError, UsageError
from bento.functions.browser.sizes import padded_size
from bento.protocol.ticket import ShutdownTicket, Ticket

from . import transfer
from .sealing import BLOCK, KEY, MAX_NAME, Content, derive_key, seal
from .sink import Receiver
from .unfinished import Unfinished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from bento.client.box import Box
    from bento.client.conclave import Trust
    from bento.client.instance import Instance

    from .sink import OpenSink
    from .transfer import Rules

    Progress = Callable[[int, int], None]  # bytes done, bytes in all

NAME = 16
"""Bytes that name a get: unguessable, so that nobody resumes another's."""


def measure(path: Path, padding: str = "none") -> Content:
    """What is in a file. Raises UsageError when it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            size = file.tell()
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", "name a file that is there"
        ) from None
    name = path.name.encode(errors="replace")[:MAX_NAME].decode(errors="ignore")
    return Content(name, size, digest.digest(), padded_size(padding, size))


async def in_turns(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The same blocks; other tasks have a turn after each."""
    for block in blocks:
        yield block
        await asyncio.sleep(0)


def read(path: Path) -> Iterator[bytes]:
    """A file in blocks. Raises HostError."""
    try:
        with path.open("rb") as file:
            while piece := file.read(BLOCK):
                yield piece
    except OSError as error:
        raise HostError(f"cannot read {path} any more: {error.strerror}") from None


class Put:
    """One file on its way to a box. The same file under the same rules goes on where it stopped."""

    def __init__(
        self, path: Path, content: Content, rules: Rules, trust: Trust | None = None
    ) -> None:
        """With `trust` the file waits in a conclave: a put in the open is then not gone on with."""
        self._path = path
        self.content = content
        self._rules = rules
        self._trust = trust
        where = " in a conclave" if trust is not None else ""
        self._unfinished = Unfinished("put", f"{path.absolute()} {content} {rules}{where}")
        self._notes = self._unfinished.read()
        self.instance: Instance | None = None

    @property
    def box(self) -> str | None:
        """The fingerprint of the box that has a part of it already."""
        return Ticket.parse(self._notes["ticket"]).box.hex() if self._notes else None

    async def run(self, box: Box, progress: Progress | None = None) -> Ticket:
        """The ticket, once the box has proved by its hash that it stored the whole file."""
        size = self.content.sealed_size
        instance = await self._resumed(box) or await self._begun(box)
        key = derive_key(bytes.fromhex(self._notes["secret"]), self.content)
        blocks = seal(key, self.content, read(self._path))
        tell = (lambda done: progress(done, size)) if progress else None
        await transfer.store(instance, size, in_turns(blocks), self._rules, tell)
        self.instance = instance
        return replace(instance.ticket, decryption=key)

    def forget(self) -> None:
        """The ticket was handed over: nothing of the transfer is kept here."""
        self._unfinished.forget()

    async def _resumed(self, box: Box) -> Instance | None:
        if not self._notes:
            return None
        ticket = Ticket.parse(self._notes["ticket"])
        instance = box.instance(ticket, recall(ticket), self._trust)
        instance.shutdown_ticket = ShutdownTicket.parse(self._notes["shutdown"])
        instance.expires = int(self._notes["expires"])
        try:
            await transfer.status(instance)
        except BoxError:
            return None  # it has ended meanwhile
        return instance

    async def _begun(self, box: Box) -> Instance:
        instance = await transfer.install(box, self.content.sealed_size, self._rules, self._trust)
        remember(instance)
        assert instance.shutdown_ticket is not None
        self._notes = {
            "ticket": instance.ticket.encode(),
            "shutdown": instance.shutdown_ticket.encode(),
            "expires": str(instance.expires),
            "secret": secrets.token_hex(KEY),
        }
        self._unfinished.write(**self._notes)
        return instance


class Get:
    """One file on its way home. The same ticket into the same file goes on where it stopped."""

    def __init__(self, ticket: Ticket, into: str) -> None:
        """`into` tells this get from others of the ticket: its file."""
        if not ticket.decryption:
            raise UsageError(
                "this ticket names no stored file", "bento invoke calls a function by its ticket"
            )
        self._ticket = ticket
        self._unfinished = Unfinished("get", f"{ticket.encode()} {into}")

    async def run(
        self,
        box: Box,
        open_sink: OpenSink,
        progress: Progress | None = None,
        trust: Trust | None = None,
    ) -> Content:
        """Fetches, checks and keeps the file; the box hears of it only once it is safe here.

        `trust` is asked if the file waits in a conclave.

        Raises RemoteProtocolError when the box gave something else than its sender sealed."""
        notes = self._unfinished.read()
        name = bytes.fromhex(notes.get("name", "")) or secrets.token_bytes(NAME)
        known = Content.from_text(notes["content"]) if "content" in notes else None

        def learned(content: Content) -> None:
            self._unfinished.write(name=name.hex(), content=content.to_text())

        if known is None:
            self._unfinished.write(name=name.hex())
        receiver = Receiver(self._ticket.decryption, open_sink, learned, progress)
        offset = await asyncio.to_thread(receiver.begin, known)
        instance = box.instance(self._ticket, recall(self._ticket), trust)
        try:
            await transfer.load(instance, name, offset, receiver.take)
        finally:
            receiver.close()
        self._unfinished.forget()
        assert receiver.content is not None
        return receiver.content
