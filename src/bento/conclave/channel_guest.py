"""The guest's side of the attested channel. Sans-IO; runs inside the conclave.

    HANDSHAKE -> UNATTESTED -> MEASURING -> OPEN -> CLOSED

Invariant: no byte reaches the function before evidence about this very session was given, and it is
given once. `identity` and `manifest_hash` are what the guest itself was started with, not what the
client says: a mismatch makes the client's check fail.
"""

from __future__ import annotations

import struct

from bento.conclave import binding, framing
from bento.conclave.tls import Credential, Tls
from bento.errors import LocalProtocolError, RemoteProtocolError

HANDSHAKE, UNATTESTED, MEASURING, OPEN, CLOSED = range(5)
MAX_EVIDENCE = 256 * 1024  # bytes, as `evidence.MAX_EVIDENCE`; that module stays out of the guest
EVIDENCE_HEAD = struct.Struct(">I")


class GuestChannel:
    """One session; a conclave makes one `Credential` and a `GuestChannel` for each session."""

    def __init__(self, credential: Credential, identity: bytes, manifest_hash: bytes) -> None:
        self._tls = Tls(credential)
        self._frames = framing.FrameReader()
        self._identity = identity
        self._manifest_hash = manifest_hash
        self._state = HANDSHAKE
        self.wanted: bytes | None = None
        """Report data to get evidence about; answer with `provide`."""

    @property
    def exporter(self) -> bytes:
        """A value of this very channel that only its two ends know."""
        return self._tls.exporter()

    @property
    def closed(self) -> bool:
        """The client said that nothing more follows."""
        return self._state == CLOSED

    def receive(self, data: bytes) -> list[bytes]:
        """Bytes from the wire -> payloads for the function. Raises RemoteProtocolError."""
        payloads = []
        for kind, payload in self._frames.feed(self._tls.feed(data)):
            if self._state == HANDSHAKE:
                self._state = UNATTESTED
            if kind == framing.ATTEST and self._state == UNATTESTED:
                self._measure(payload)
            elif kind == framing.DATA and self._state == OPEN:
                payloads.append(payload)
            elif kind == framing.CLOSE and self._state == OPEN:
                self._state = CLOSED
            else:
                raise RemoteProtocolError("the client sent a frame out of turn")
        return payloads

    def _measure(self, nonce: bytes) -> None:
        if len(nonce) != binding.NONCE_SIZE:
            raise RemoteProtocolError("the client's nonce has the wrong size")
        self.wanted = binding.report_data(
            nonce,
            self._tls.guest_spki(),
            self._tls.exporter(),
            self._identity,
            self._manifest_hash,
        )
        self._state = MEASURING

    def provide(self, evidence: bytes) -> None:
        """Evidence (a container) about `wanted`. Raises LocalProtocolError out of turn."""
        if self._state != MEASURING:
            raise LocalProtocolError("evidence was not asked for")
        if len(evidence) > MAX_EVIDENCE:
            raise LocalProtocolError("evidence is too long")
        for piece in framing.split(EVIDENCE_HEAD.pack(len(evidence)) + evidence):
            self._tls.write(framing.encode(framing.EVIDENCE, piece))
        self.wanted = None
        self._state = OPEN

    def send(self, payload: bytes) -> None:
        """Data for the client; nothing may follow `finish`."""
        if self._state not in (OPEN, CLOSED):
            raise LocalProtocolError("the channel is not open")
        for piece in framing.split(payload):
            self._tls.write(framing.encode(framing.DATA, piece))

    def finish(self) -> None:
        """Tell the client that nothing more follows, so that it notices a cut."""
        self._tls.write(framing.encode(framing.CLOSE, b""))
        self._tls.finish()

    def outgoing(self) -> bytes:
        """Bytes for the wire."""
        return self._tls.outgoing()
