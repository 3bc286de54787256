"""What a front hands to a replica: one client's rendezvous, and nothing that opens another's.

The record holds the client's X, EXP(X,b) for the introduction key b, the public keys B and AUTH,
the rendezvous point and the cookie. The replica makes y itself (`hs_ntor.answer`), so the front
cannot read the stream; b and the identity never leave the front. Whoever gets hold of a record
could answer that one client, so it travels over an authenticated and sealed channel only.
"""

from __future__ import annotations

from dataclasses import dataclass

from bento.errors import RemoteProtocolError
from bento.onion import linkspec
from bento.onion.crypto import Secret
from bento.onion.hs_ntor import ClientShare
from bento.onion.linkspec import Target
from bento.onion.wire import Reader, vector

COOKIE_BYTES = 20
MAX_BYTES = 2048

_VERSION = 1
_KEY_BYTES = 32
_CONGESTION_CONTROL = 1


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """One client that waits at `relay`. `congestion_control`: it asked for it and we offered it."""

    cookie: Secret
    relay: Target
    share: ClientShare
    congestion_control: bool

    def pack(self) -> Secret:
        """The record for a replica."""
        flags = _CONGESTION_CONTROL if self.congestion_control else 0
        return Secret(
            bytes([_VERSION, flags])
            + self.cookie
            + self.share.client
            + self.share.shared
            + self.share.encryption_key
            + self.share.auth_key
            + self.relay.onion_key
            + vector(linkspec.pack(self.relay.specifiers), 2)
        )


def parse(data: bytes) -> Rendezvous:
    """Reads a record; RemoteProtocolError for anything not exactly in the format."""
    if len(data) > MAX_BYTES:
        raise RemoteProtocolError("the rendezvous record is too large")
    reader = Reader(data, "the rendezvous record")
    if reader.uint(1) != _VERSION:
        raise RemoteProtocolError("the rendezvous record is of an unknown version")
    flags = reader.uint(1)
    if flags & ~_CONGESTION_CONTROL:
        raise RemoteProtocolError("the rendezvous record has unknown flags")
    cookie = Secret(reader.take(COOKIE_BYTES))
    client, shared, encryption, auth, onion = (reader.take(_KEY_BYTES) for _ in range(5))
    inner = Reader(reader.vector(2), "the rendezvous point")
    reader.end()
    specifiers = linkspec.read(inner)
    inner.end()
    return Rendezvous(
        cookie,
        linkspec.target(specifiers, onion),
        ClientShare(client, Secret(shared), encryption, auth),
        bool(flags & _CONGESTION_CONTROL),
    )
