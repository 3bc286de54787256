"""The way between a conclave and another box, which its own box carries and cannot read. Sans-IO.

    guest (TLS client)   -- own box: bytes -->   other box (TLS server, by its identity key)

TLS 1.3 with frames padded to buckets, as in the attested channel. The other box is known by the SHA-256
of its key, which it proves to hold in the handshake; who the guest is, is nobody's business. Both ends
use this one class; it runs in the guest too.
Invariant: an end gives and takes nothing before the handshake is done, and the guest's nothing before
the key was the right one; an end that was not announced is no end.
"""

from __future__ import annotations

import hashlib
import hmac

from bento.conclave import framing
from bento.conclave.tls import Credential, Tls
from bento.errors import BoxError, LocalProtocolError, RemoteProtocolError

PROTOCOL = b"bento-box/1"


class BoxChannel:
    """With `credential` the box's end, else the guest's, which expects the key of that SHA-256."""

    def __init__(self, credential: Credential | None = None, key_hash: bytes = b"") -> None:
        self._tls = Tls(credential, PROTOCOL)
        self._key_hash = key_hash
        self._frames = framing.FrameReader()
        self.open = False
        self.closed = False
        """The other end said that nothing more follows."""
        if credential is None:
            self._tls.start()

    def receive(self, data: bytes) -> bytes:
        """Bytes from the wire -> what the other end sent. Raises BoxError for another box's key,
        RemoteProtocolError."""
        plain = self._tls.feed(data)
        if self._tls.established and not self.open:
            self._check()
            self.open = True
        pieces = []
        for kind, payload in self._frames.feed(plain):
            if kind == framing.DATA and not self.closed:
                pieces.append(payload)
            elif kind == framing.CLOSE and not self.closed:
                self.closed = True
            else:
                raise RemoteProtocolError("a frame out of turn on the way between boxes")
        return b"".join(pieces)

    def _check(self) -> None:
        if self._key_hash:
            shown = hashlib.sha256(self._tls.box_key()).digest()
            if not hmac.compare_digest(shown, self._key_hash):
                raise BoxError("another box answers in this one's place", "use another box")

    def send(self, data: bytes) -> None:
        """For the other end; it waits in `outgoing`."""
        if not self.open:
            raise LocalProtocolError("the way to the other box is not open")
        for piece in framing.split(data):
            self._tls.write(framing.encode(framing.DATA, piece))

    def finish(self) -> None:
        """Tell the other end that nothing more follows."""
        if self.open:
            self._tls.write(framing.encode(framing.CLOSE, b""))

    def outgoing(self) -> bytes:
        """Bytes for the wire."""
        return self._tls.outgoing()
