"""TLS over one TCP connection, for a link's cells: what arrived together comes out together.

asyncio has a layer of its own for this; at the rate of a relay's small records it costs as much as all
cryptography of the cells, and reading cannot be paused below it, where that saves something. Here a
read of the socket is one turn, whatever number of records it held, and a pause is one of the socket.
The user gets pieces of 64 KiB to 80 KiB at most.

    TCP bytes -> BIO -> records -> `user.received`     `write` -> records -> BIO -> TCP bytes

Nothing is verified: see `tls`. Any failure of TLS ends the connection, and `user.lost` is called once.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
from typing import Protocol, cast

from bento.onion.netinfo import Address

READ_BYTES = 256 * 1024  # about 500 cells: the most that is opened at once
WRITE_BUFFER_BYTES = 256 * 1024  # about 500 cells; beyond it streams wait
MAX_UNSENT_BYTES = (
    4 << 20
)  # a relay that takes nothing for as long is no use: streams stopped long before
LINGER_SECONDS = 30.0  # for what was written before `close`
PIECE_BYTES = 64 * 1024  # delivered at once: so much stays in the processor's caches all the way
_RECORD_BYTES = 16 * 1024  # RFC 8446 5.1


class TlsUser(Protocol):
    """Whose connection it is."""

    def secured(self) -> None:
        """The TLS handshake is done: it may write."""

    def received(self, data: bytes) -> None: ...

    def lost(self) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class TlsLink(asyncio.BufferedProtocol):
    """The client's side of one TLS connection."""

    def __init__(self, user: TlsUser, context: ssl.SSLContext, server_name: str) -> None:
        self._user = user
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._arrived = memoryview(bytearray(READ_BYTES))
        self._plain = memoryview(bytearray(PIECE_BYTES + _RECORD_BYTES))
        self._transport: asyncio.Transport | None = None
        self._secured = False
        self._closing = False

    @property
    def certificate(self) -> bytes:
        """The relay's TLS certificate (DER), once `secured`."""
        return self._tls.getpeercert(binary_form=True) or b""

    @property
    def peer(self) -> Address:
        assert self._transport is not None
        return ipaddress.ip_address(self._transport.get_extra_info("peername")[0])

    @property
    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: bytes) -> None:
        """Takes all of `data`; `user.pause_writing` says when that is too much."""
        if self._closing:
            return
        view, at = memoryview(data), 0
        try:
            while at < len(data):  # one record a call
                at += self._tls.write(view[at:])
        except ssl.SSLError:
            self.abort()
            return
        self._flush()
        if self._transport is not None and (
            self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES
        ):
            self.abort()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._closing:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._closing:
            self._transport.resume_reading()

    def read_paused(self) -> bool:
        """Reads once while reading is paused, past asyncio: to resume, be called and pause again costs as
        much as opening thirty cells. False: nothing had come, or the connection has ended."""
        if self._transport is None or self._closing:
            return False
        descriptor = self._transport.get_extra_info("socket").fileno()
        try:
            count = os.readv(descriptor, [self._arrived])
        except OSError:  # nothing there, or an end that the transport will meet, too
            return False
        if count:
            self.buffer_updated(count)
        return count > 0

    def close(self) -> None:
        """Says goodbye after what was written."""
        if self._closing or self._transport is None:
            return
        if self._secured:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass  # it waits for the other side's goodbye, which we do not
            self._flush()
        self._closing = True
        self._transport.close()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._closing:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._advance()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._arrived

    def buffer_updated(self, nbytes: int) -> None:
        self._incoming.write(self._arrived[:nbytes])
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._user.lost()

    def pause_writing(self) -> None:
        self._user.pause_writing()

    def resume_writing(self) -> None:
        self._user.resume_writing()

    # -- inside

    def _advance(self) -> None:
        try:
            if not self._secured and not self._handshake():
                return
            more = True
            while more and not self._closing:
                count, more = self._open()
                if count:
                    self._user.received(bytes(self._plain[:count]))
        except ssl.SSLError:
            self.abort()
            return
        self._flush()  # what TLS itself has to say

    def _handshake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        self._secured = True
        self._flush()
        self._user.secured()
        return True

    def _open(self) -> tuple[int, bool]:
        """How much of the records that are here went to `_plain`, and whether there may be more."""
        at = 0
        try:
            while at < PIECE_BYTES:
                count = cast(int, self._tls.read(_RECORD_BYTES, self._plain[at:]))
                if not count:
                    self.abort()  # the peer is done
                    break
                at += count
        except ssl.SSLWantReadError:
            return at, False
        except ssl.SSLZeroReturnError:
            self.abort()
        return at, not self._closing

    def _flush(self) -> None:
        if self._outgoing.pending and self._transport is not None:
            self._transport.write(self._outgoing.read())
