"""The other side of the handshakes, as a relay makes it: for tests only."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bento.onion import keys, ntor3
from bento.onion.crypto import aes_ctr, encapsulate, hkdf_sha256, sha3, shake, x25519, x25519_public
from bento.onion.keys import HopKeys

V1 = b"ntor-curve25519-sha256-1"
V3 = b"ntor3-curve25519-sha3_256-1"


def ntor_answer(
    relay_id: bytes,
    onion_key: X25519PrivateKey,
    request: bytes,
    ephemeral: X25519PrivateKey | None = None,
) -> tuple[bytes, HopKeys]:
    """The relay's reply, and the keys as the client sees them."""
    y = ephemeral or X25519PrivateKey.generate()
    public, ours, client = x25519_public(onion_key), x25519_public(y), request[52:]
    assert request[:52] == relay_id + public

    def tweak(message: bytes, name: bytes) -> bytes:
        return hmac.digest(V1 + name, message, "sha256")

    secret = x25519(y, client) + x25519(onion_key, client) + relay_id + public + client + ours + V1
    verify = tweak(secret, b":verify")
    auth = tweak(verify + relay_id + public + ours + client + V1 + b"Server", b":mac")
    seed = tweak(secret, b":key_extract")
    stream = hkdf_sha256(seed, V1 + b":key_expand", keys.TOR1.total)
    return ours + auth, keys.cut(stream, keys.TOR1)


def ntor3_answer(
    relay_id: bytes,
    onion_key: X25519PrivateKey,
    request: bytes,
    message: bytes,
    verification: bytes = ntor3.CIRCUIT_VERIFICATION,
    ephemeral: X25519PrivateKey | None = None,
    size: int = keys.TOR1.total,
) -> tuple[bytes, bytes, bytes]:
    """The relay's reply, the client's message, the key stream."""
    y = ephemeral or X25519PrivateKey.generate()
    public, ours = x25519_public(onion_key), x25519_public(y)
    who, client, sealed, mac = request[:64], request[64:96], request[96:-32], request[-32:]
    assert who == relay_id + public
    ver = encapsulate(verification)
    shared = x25519(onion_key, client)

    def tweak(name: bytes) -> bytes:
        return encapsulate(V3 + name)

    first = shake(tweak(b":kdf_phase1") + shared + relay_id + client + public + V3 + ver, 64)
    assert mac == sha3(tweak(b":msg_mac"), encapsulate(first[32:]), request[:-32])
    secret = x25519(y, client) + shared + who + client + ours + V3 + ver
    stream = shake(tweak(b":kdf_final") + sha3(tweak(b":key_seed"), secret), 32 + size)
    answer = aes_ctr(stream[:32]).update(message)
    said = sha3(tweak(b":verify"), secret) + who + ours + client + mac + encapsulate(answer)
    auth = sha3(tweak(b":auth_final"), said + V3 + b"Server")
    return ours + auth + answer, aes_ctr(first[:32]).update(sealed), stream[32:]
