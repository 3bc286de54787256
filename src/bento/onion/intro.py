"""Introduction points: establishing one, and opening what clients send there (rend-spec-v3 3).

What an INTRODUCE2 must pass, as in C-tor (`hs_cell_parse_introduce2`,
`service_handle_introduce2`), in this order:

    no.  check
    1    it parses, the legacy key id is all zeros
    2    the authentication key is of type 2 and is this point's own
    3    its sealed part was not seen here before (replay)
    4    the MAC is right, under the subcredential of one of the two published periods
    5    the decrypted part parses; the onion key is of type ntor and has 32 bytes
    6    the link specifiers name one relay with IPv4 (or IPv6), RSA and Ed25519 identity
    7    the rendezvous cookie was not seen by the service before (replay)

What does not open is not remembered, and uses nothing up: anybody can send it.

A point serves a random number of introductions (16,384 to 32,768) and a random time (18 to 24 h),
then another takes its place: so the replay cache stays small, and nobody can learn from outside
when a point will go.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from nacl.signing import SigningKey

from bento.errors import RemoteProtocolError
from bento.onion import hs_ntor, linkspec
from bento.onion.crypto import (
    SHA3_BYTES,
    X25519_BYTES,
    Secret,
    aes_ctr,
    mac_sha3,
    same,
    x25519_public,
    x25519_secret,
)
from bento.onion.crypto import x25519 as exchange
from bento.onion.descriptor import PublishedPoint
from bento.onion.handover import COOKIE_BYTES, Rendezvous
from bento.onion.hs_ntor import ClientShare
from bento.onion.linkspec import Target
from bento.onion.wire import Reader, vector

INTRODUCTIONS = (16_384, 32_768)  # C-tor: hs_intro_min/max_introduce2
LIFETIME_SECONDS = (18 * 3600, 24 * 3600)  # C-tor: hs_intro_min/max_lifetime
COOKIE_MEMORY_SECONDS = 300.0  # C-tor: REPLAY_TIME_BETWEEN..., 5 minutes
MAX_COOKIES = 65_536
DIGEST_BYTES = 16  # of what was seen: a false replay in 2**113 introductions, half the memory

_AUTH_KEY_ED25519 = 2
_LEGACY_KEY_ID_BYTES = 20
_ONION_KEY_NTOR = 1
_EXTENSION_CONGESTION = 1
_SIGNED_PREFIX = b"Tor establish-intro cell v1"


class Replayed(RemoteProtocolError):
    """An introduction that was seen before: dropped without a trace, as C-tor does."""


class CookieMemory:
    """Rendezvous cookies of the last five minutes, over all points of a service."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def add(self, cookie: bytes, now: float) -> None:
        """Replayed when it was added in the last five minutes (`now` in seconds)."""
        digest = hashlib.sha256(cookie).digest()
        while self._seen:
            oldest, when = next(iter(self._seen.items()))
            if now - when < COOKIE_MEMORY_SECONDS and len(self._seen) < MAX_COOKIES:
                break
            del self._seen[oldest]
        if digest in self._seen:
            raise Replayed("a rendezvous cookie was used twice")
        self._seen[digest] = now


class IntroductionKeysOfPoint:
    """The two key pairs of one point: it signs with one, clients encrypt to the other."""

    def __init__(self, auth_seed: bytes | None = None, encryption: bytes | None = None) -> None:
        self._auth = SigningKey(auth_seed or secrets.token_bytes(32))
        self._encryption = X25519PrivateKey.from_private_bytes(
            encryption or secrets.token_bytes(32)
        )
        self.auth_key = bytes(self._auth.verify_key)
        self.encryption_key = x25519_public(self._encryption)

    def secrets(self) -> tuple[Secret, Secret]:
        """Both secret halves, to keep over a restart (see `kept`)."""
        return Secret(bytes(self._auth)), x25519_secret(self._encryption)

    def sign(self, message: bytes) -> bytes:
        return self._auth.sign(message).signature

    def share(self, client: bytes) -> ClientShare:
        """EXP(X,b) and the public parts, for one client's X."""
        shared = exchange(self._encryption, client)
        return ClientShare(client, shared, self.encryption_key, self.auth_key)

    def __repr__(self) -> str:
        return "<keys of an introduction point>"


class IntroductionPoint:
    """One point of the service: its keys, its age, and what it has seen."""

    def __init__(
        self, relay: Target, now: float, keys: IntroductionKeysOfPoint | None = None
    ) -> None:
        random = secrets.SystemRandom()
        self.relay = relay
        self.keys = keys or IntroductionKeysOfPoint()
        self.expires = now + random.uniform(*LIFETIME_SECONDS)
        self.left = random.randint(*INTRODUCTIONS)
        self.seen: set[bytes] = set()

    @property
    def published(self) -> PublishedPoint:
        return PublishedPoint(self.relay, self.keys.auth_key, self.keys.encryption_key)

    def is_spent(self, now: float) -> bool:
        """Whether another point should take its place."""
        return self.left <= 0 or now >= self.expires

    def establish_message(self, circuit_nonce: bytes) -> bytes:
        """Body of ESTABLISH_INTRO, bound to the circuit by its KH (rend-spec-v3 3.1.1)."""
        body = bytes([_AUTH_KEY_ED25519]) + vector(self.keys.auth_key, 2) + b"\0"
        body += mac_sha3(circuit_nonce, body)
        return body + vector(self.keys.sign(_SIGNED_PREFIX + body), 2)

    def open(
        self,
        message: bytes,
        subcredentials: Iterable[bytes],
        cookies: CookieMemory,
        now: float,
    ) -> Rendezvous:
        """Who waits where. RemoteProtocolError when a check fails, Replayed for rows 3 and 7."""
        reader = Reader(message, "an INTRODUCE2 message")
        if any(reader.take(_LEGACY_KEY_ID_BYTES)) or reader.uint(1) != _AUTH_KEY_ED25519:
            raise RemoteProtocolError("an INTRODUCE2 is not of the third version")
        if not same(reader.vector(2), self.keys.auth_key):
            raise RemoteProtocolError("an INTRODUCE2 is for another introduction point")
        _skip_extensions(reader)
        client = reader.take(X25519_BYTES)
        sealed = reader.take(max(reader.left - SHA3_BYTES, 0))
        mac = reader.take(SHA3_BYTES)
        digest = hashlib.sha256(client + sealed).digest()[:DIGEST_BYTES]
        if digest in self.seen:
            raise Replayed("an INTRODUCE2 was sent twice")
        share = self.keys.share(client)
        plain = _unseal(share, subcredentials, message[:-SHA3_BYTES], sealed, mac)
        self.seen.add(digest)
        self.left -= 1
        found = _parse_plain(plain, share)
        cookies.add(found.cookie, now)
        return found


def _unseal(
    share: ClientShare, subcredentials: Iterable[bytes], said: bytes, sealed: bytes, mac: bytes
) -> bytes:
    for subcredential in subcredentials:
        keys = hs_ntor.introduction_keys(share, subcredential)
        if same(mac_sha3(keys.authenticate, said), mac):
            return aes_ctr(keys.encrypt).update(sealed)
    raise RemoteProtocolError("an INTRODUCE2 does not open")


def _parse_plain(plain: bytes, share: ClientShare) -> Rendezvous:
    reader = Reader(plain, "the sealed part of an INTRODUCE2")
    cookie = Secret(reader.take(COOKIE_BYTES))
    extensions = _read_extensions(reader)
    if reader.uint(1) != _ONION_KEY_NTOR:
        raise RemoteProtocolError("the rendezvous point's key is of an unknown type")
    onion_key = reader.vector(2)
    if len(onion_key) != X25519_BYTES:
        raise RemoteProtocolError("the rendezvous point's key has a wrong size")
    specifiers = linkspec.read(reader)  # what follows is padding
    target = linkspec.target(specifiers, onion_key)
    return Rendezvous(cookie, target, share, _EXTENSION_CONGESTION in extensions)


def _read_extensions(reader: Reader) -> dict[int, bytes]:
    """Number of extensions, then type, length, body of each; the first of a type counts."""
    found: dict[int, bytes] = {}
    for _ in range(reader.uint(1)):
        kind, body = reader.uint(1), reader.vector(1)
        found.setdefault(kind, body)
    return found


def _skip_extensions(reader: Reader) -> None:
    _read_extensions(reader)
