"""ntor: the one-round handshake that makes a hop (tor-spec 5.1.4).

The client sends the relay's identity, its onion key B and a fresh X; the relay answers with Y and
AUTH. Only who knows B's secret half can make AUTH, so a hop exists only with the right relay.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bento.errors import RemoteProtocolError
from bento.onion import keys
from bento.onion.crypto import X25519_BYTES, hkdf_sha256, same, x25519, x25519_public
from bento.onion.keys import HopKeys
from bento.onion.wire import Reader

HANDSHAKE_TYPE = 0x0002
_PROTOCOL = b"ntor-curve25519-sha256-1"
_AUTH_BYTES = 32


class NtorClient:
    """Our half of one handshake. `relay_id` is the RSA identity (20 bytes), `onion_key` is B."""

    handshake_type = HANDSHAKE_TYPE

    def __init__(
        self, relay_id: bytes, onion_key: bytes, ephemeral: X25519PrivateKey | None = None
    ) -> None:
        self._id = relay_id
        self._onion_key = onion_key
        self._private = ephemeral or X25519PrivateKey.generate()
        self._public = x25519_public(self._private)

    @property
    def request(self) -> bytes:
        """The onion skin to send."""
        return self._id + self._onion_key + self._public

    def finish(self, reply: bytes) -> HopKeys:
        """The keys of the hop; RemoteProtocolError unless the right relay answered."""
        reader = Reader(reply, "the ntor reply")
        theirs, auth = reader.take(X25519_BYTES), reader.take(_AUTH_BYTES)
        reader.end()
        bound = self._onion_key + self._public + theirs + _PROTOCOL
        ephemeral = x25519(self._private, theirs)
        static = x25519(self._private, self._onion_key)
        secret = ephemeral + static + self._id + bound
        verify = _tweak(secret, b":verify")
        said = self._id + self._onion_key + theirs + self._public + _PROTOCOL + b"Server"
        if not same(auth, _tweak(verify + said, b":mac")):
            raise RemoteProtocolError("the relay did not prove that it holds its onion key")
        seed = _tweak(secret, b":key_extract")
        stream = hkdf_sha256(seed, _PROTOCOL + b":key_expand", keys.TOR1.total)
        return keys.cut(stream, keys.TOR1)


def _tweak(message: bytes, tweak: bytes) -> bytes:
    return hmac.digest(_PROTOCOL + tweak, message, "sha256")
