"""One installed function, as the box holds it, and a visit to it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from bento.box.journal import Entry

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from bento.box.passage import Passage
    from bento.box.terms import Terms
    from bento.box.uplink import Share
    from bento.box.ways import Ways
    from bento.egress.relay import Relay
    from bento.safelog import Sensitive
    from bento.sandbox import Sandbox


@dataclass(eq=False)
class Instance:
    """`name` is for the operator; it opens nothing."""

    name: str
    terms: Terms
    sandbox: Sandbox
    ways: Ways
    expires: int  # seconds since 1970
    token: bytes  # the name its tokens have in common; it opens nothing
    share: Share = field(repr=False)  # of the box's uplink
    bytes_in: int = 0
    bytes_out: int = 0
    measured: bytes = b""  # see `conclaves`; an older bentod may have started the guest
    relays: set[Relay] = field(default_factory=set, repr=False)
    ending: asyncio.Task[None] | None = field(default=None, repr=False)
    renewed: float = field(default_factory=time.monotonic)  # or taken over

    def renew(self) -> None:
        """From now on it has its whole lease again."""
        self.renewed = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds until it is to end, if nobody renews its lease."""
        left, lease = self.expires - time.time(), self.terms.manifest.lease
        return min(left, self.renewed + lease - time.monotonic()) if lease else left

    @classmethod
    def again(cls, entry: Entry, terms: Terms, sandbox: Sandbox, ways: Ways, share: Share) -> Self:
        """The instance of a journal's entry, after a restart."""
        return cls(
            *(entry.name, terms, sandbox, ways, entry.expires, entry.token, share),
            *(entry.bytes_in, entry.bytes_out, entry.measured),
        )

    @property
    def entry(self) -> Entry:
        """For the journal."""
        return Entry(
            record=self.sandbox.record,
            manifest=self.terms.text,
            function=self.terms.function,
            upload=self.terms.upload,
            holder=self.terms.holder,
            expires=self.expires,
            token=self.token,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            measured=self.measured,
        )

    # A relay's gate: bytes are counted, and wait for their turn at a full uplink.

    def allowance(self) -> int:
        return self.share.allowance()

    def wait(self, resume: Callable[[], None]) -> None:
        self.share.wait(resume)

    def passed(self, count: int, outwards: bool) -> None:
        self.share.passed(count)
        if outwards:
            self.bytes_in += count
        else:
            self.bytes_out += count


@dataclass(frozen=True)
class Grant:
    """What the client of a new instance is told, once."""

    instance: Instance
    invocation: Sensitive[bytes]
    shutdown: Sensitive[bytes]


@dataclass(frozen=True)
class Visit:
    """A connection to an instance's guest, and what the token that opened it still bounds; or, without
    a token, of the one that the instance was just made for."""

    instance: Instance
    guest: socket.socket
    passage: Passage | None = None
    creator: bool = False
