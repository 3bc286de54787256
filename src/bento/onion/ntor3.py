"""ntor-v3: ntor with an encrypted message each way (proposal 332), here to agree on flow control.

Our message asks for congestion control (proposal 324); the relay's answer says after how many
cells it acknowledges. Unknown extensions are passed over, as the proposal demands.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bento.errors import RemoteProtocolError
from bento.onion import keys
from bento.onion.crypto import (
    SHA3_BYTES,
    X25519_BYTES,
    aes_ctr,
    encapsulate,
    same,
    sha3,
    shake,
    x25519,
    x25519_public,
)
from bento.onion.keys import HopKeys
from bento.onion.wire import Reader, vector

HANDSHAKE_TYPE = 0x0003
CIRCUIT_VERIFICATION = b"circuit extend"
EXTENSION_CC_REQUEST = 1
EXTENSION_CC_RESPONSE = 2

_PROTOCOL = b"ntor3-curve25519-sha3_256-1"
_KEY_BYTES = 32


def _hash(tweak: bytes, data: bytes) -> bytes:
    return sha3(encapsulate(_PROTOCOL + tweak), data)


def _mac(tweak: bytes, key: bytes, data: bytes) -> bytes:
    return sha3(encapsulate(_PROTOCOL + tweak), encapsulate(key), data)


def _stream(tweak: bytes, data: bytes, size: int) -> bytes:
    return shake(encapsulate(_PROTOCOL + tweak) + data, size)


def pack_extensions(extensions: Mapping[int, bytes]) -> bytes:
    """A count, then type, length and body of each, by rising type (tor-spec 5.1.4.1)."""
    rows = (bytes([kind]) + vector(body, 1) for kind, body in sorted(extensions.items()))
    return bytes([len(extensions)]) + b"".join(rows)


def parse_extensions(data: bytes) -> dict[int, bytes]:
    """Extensions by type; the first of a type counts. RemoteProtocolError when malformed."""
    reader = Reader(data, "the ntor-v3 message")
    found: dict[int, bytes] = {}
    for _ in range(reader.uint(1)):
        kind, body = reader.uint(1), reader.vector(1)
        found.setdefault(kind, body)
    reader.end()
    return found


class Ntor3Client:
    """Our half. `relay_id` is Ed25519; after `finish`, `answer` is the relay's message."""

    handshake_type = HANDSHAKE_TYPE

    def __init__(
        self,
        relay_id: bytes,
        onion_key: bytes,
        message: bytes,
        verification: bytes = CIRCUIT_VERIFICATION,
        ephemeral: X25519PrivateKey | None = None,
    ) -> None:
        self._id = relay_id
        self._onion_key = onion_key
        self._verification = encapsulate(verification)
        self._private = ephemeral or X25519PrivateKey.generate()
        self._public = x25519_public(self._private)
        self._shared = x25519(self._private, onion_key)
        self.answer = b""
        secret = self._shared + relay_id + self._public + onion_key + _PROTOCOL + self._verification
        stream = _stream(b":kdf_phase1", secret, _KEY_BYTES + SHA3_BYTES)
        sealed = aes_ctr(stream[:_KEY_BYTES]).update(message)
        body = relay_id + onion_key + self._public + sealed
        self._mac = _mac(b":msg_mac", stream[_KEY_BYTES:], body)
        self.request = body + self._mac

    def finish(self, reply: bytes) -> HopKeys:
        """The keys of the hop; RemoteProtocolError unless the right relay answered."""
        return keys.cut(self.finish_stream(reply, keys.TOR1.total), keys.TOR1)

    def finish_stream(self, reply: bytes, size: int) -> bytes:
        """The first `size` bytes of the agreed key stream."""
        reader = Reader(reply, "the ntor-v3 reply")
        theirs, auth, sealed = (
            reader.take(X25519_BYTES),
            reader.take(SHA3_BYTES),
            reader.rest(),
        )
        who = self._id + self._onion_key
        secret = (
            x25519(self._private, theirs)
            + self._shared
            + who
            + self._public
            + theirs
            + _PROTOCOL
            + self._verification
        )
        verify = _hash(b":verify", secret)
        said = verify + who + theirs + self._public + self._mac + encapsulate(sealed)
        if not same(auth, _hash(b":auth_final", said + _PROTOCOL + b"Server")):
            raise RemoteProtocolError("the relay did not prove that it holds its onion key")
        stream = _stream(b":kdf_final", _hash(b":key_seed", secret), _KEY_BYTES + size)
        self.answer = aes_ctr(stream[:_KEY_BYTES]).update(sealed)
        return stream[_KEY_BYTES:]
