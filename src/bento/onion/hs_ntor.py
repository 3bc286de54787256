"""hs-ntor: the handshake of onion client and service, cut in two (rend-spec-v3 3.2.1, 3.3).

    client                     front (owns b)               replica (makes y)
    X, sealed to B    ->       opens it, EXP(X,b)    ->     EXP(X,y), keys
                      <------------------------------       Y, AUTH

The front holds the introduction keys and can open INTRODUCE2; the keys of the stream also need y,
which only the replica knows. The replica gets EXP(X,b), which is of this one client: it learns no
long-term key, and cannot open another client's INTRODUCE2.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bento.onion import keys
from bento.onion.crypto import SHA3_BYTES, Secret, mac_sha3, shake, x25519, x25519_public
from bento.onion.keys import HopKeys

_PROTOCOL = b"tor-hs-ntor-curve25519-sha3-256-1"
_EXTRACT = _PROTOCOL + b":hs_key_extract"
_VERIFY = _PROTOCOL + b":hs_verify"
_MAC = _PROTOCOL + b":hs_mac"
_EXPAND = _PROTOCOL + b":hs_key_expand"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class IntroductionKeys:
    """ENC_KEY and MAC_KEY of one INTRODUCE message."""

    encrypt: Secret
    authenticate: Secret


@dataclass(frozen=True, slots=True)
class ClientShare:
    """All a replica needs to finish the handshake with one client (`shared` is EXP(X,b))."""

    client: bytes
    shared: Secret
    encryption_key: bytes
    auth_key: bytes


def introduction_keys(share: ClientShare, subcredential: bytes) -> IntroductionKeys:
    """Both sides of INTRODUCE compute them: the client from EXP(B,x), the service from EXP(X,b)."""
    secret = share.shared + share.auth_key + share.client + share.encryption_key + _PROTOCOL
    stream = shake(secret + _EXTRACT + _EXPAND + subcredential, _KEY_BYTES + SHA3_BYTES)
    return IntroductionKeys(Secret(stream[:_KEY_BYTES]), Secret(stream[_KEY_BYTES:]))


def answer(share: ClientShare, ephemeral: X25519PrivateKey | None = None) -> tuple[bytes, HopKeys]:
    """Handshake info for RENDEZVOUS1 (Y, AUTH), and the keys as the *service* uses them."""
    private = ephemeral or X25519PrivateKey.generate()
    public = x25519_public(private)
    both = x25519(private, share.client) + share.shared
    seed, auth = _finish(both, share, public)
    return public + auth, hop_keys(seed).reversed()


def expected_auth(share: ClientShare, both: bytes, service: bytes) -> tuple[bytes, bytes]:
    """The client's half: seed and AUTH, from EXP(Y,x) and EXP(B,x) in `both`."""
    return _finish(both, share, service)


def hop_keys(seed: bytes) -> HopKeys:
    """The end-to-end layer as the client uses it (rend-spec-v3 4.2.1)."""
    return keys.cut(shake(seed + _EXPAND, keys.ONION.total), keys.ONION)


def _finish(both: bytes, share: ClientShare, service: bytes) -> tuple[bytes, bytes]:
    who = share.auth_key + share.encryption_key
    secret = both + who + share.client + service + _PROTOCOL
    seed = mac_sha3(secret, _EXTRACT)
    said = mac_sha3(secret, _VERIFY) + who + service + share.client + _PROTOCOL + b"Server"
    return Secret(seed), mac_sha3(said, _MAC)
