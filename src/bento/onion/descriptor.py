"""Making v3 onion service descriptors (rend-spec-v3 2.4, 2.5): three layers, signed and sealed.

    outer          who signs, a revision counter                       anybody (HSDirs)
      superencrypted   which clients may read on, fakes among them     who knows the address
        encrypted      the introduction points                         ... and is authorized

Times, randomness and keys come from the caller, so that what is made can be made again in a test.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from nacl.signing import SigningKey

from bento.errors import LocalProtocolError
from bento.onion import edcert, linkspec
from bento.onion.blinding import BlindedKey
from bento.onion.crypto import Secret, aes_ctr, mac_sha3, shake, uint64, x25519, x25519_public
from bento.onion.edcert import CertType
from bento.onion.linkspec import Target

LIFETIME_MINUTES = 180
CERTIFICATE_SECONDS = 54 * 3600  # C-tor: HS_DESC_CERT_LIFETIME
MAX_BYTES = 50_000  # HSV3MaxDescriptorSize
MAX_INTRODUCTION_POINTS = 20
PADDING_BYTES = 10_000  # the middle layer's size tells only this much
CLIENTS_MULTIPLE = 16  # so does the number of authorized clients
COOKIE_BYTES, CLIENT_ID_BYTES, SALT_BYTES = 16, 8, 16

SUPERENCRYPTED = b"hsdir-superencrypted-data"
ENCRYPTED = b"hsdir-encrypted-data"
SIGNATURE_PREFIX = b"Tor onion service descriptor sig v3"

_P = 2**255 - 19


@dataclass(frozen=True, slots=True)
class PublishedPoint:
    """An introduction point as clients see it: a relay, and the keys of the service there."""

    relay: Target
    auth_key: bytes
    encryption_key: bytes


@dataclass(frozen=True, slots=True)
class LayerKeys:
    """What seals one layer."""

    key: Secret
    iv: Secret
    mac: Secret


def layer_keys(
    secret: bytes, subcredential: bytes, revision: int, salt: bytes, constant: bytes
) -> LayerKeys:
    """rend-spec-v3 2.5.3; `secret` is the blinded key, and the cookie behind it if there is one."""
    stream = shake(secret + subcredential + uint64(revision) + salt + constant, 32 + 16 + 32)
    return LayerKeys(Secret(stream[:32]), Secret(stream[32:48]), Secret(stream[48:]))


def layer_mac(keys: LayerKeys, salt: bytes, sealed: bytes) -> bytes:
    return mac_sha3(keys.mac, uint64(len(salt)) + salt + sealed)


def client_keys(shared: bytes, subcredential: bytes) -> tuple[bytes, Secret]:
    """CLIENT-ID and COOKIE-KEY of an authorized client (rend-spec-v3 2.5.1.2)."""
    stream = shake(subcredential + shared, CLIENT_ID_BYTES + 32)
    return bytes(stream[:CLIENT_ID_BYTES]), Secret(stream[CLIENT_ID_BYTES:])


def ed25519_of_x25519(public: bytes) -> bytes:
    """The Ed25519 form (sign 0) of a public X25519 key, for its certificate (rend-spec-v3 2.5)."""
    u = int.from_bytes(public, "little") % _P
    y = (u - 1) * pow(u + 1, -1, _P) % _P
    return y.to_bytes(32, "little")


@dataclass(frozen=True, slots=True)
class DescriptorPlan:
    """What to publish. `clients` are X25519 keys; empty: everybody who knows the address.

    `sendme_increment` says that the service does congestion control, at this pace; None: it does
    not. `single_onion` tells that the service does not hide.
    """

    points: Sequence[PublishedPoint]
    clients: Sequence[bytes] = ()
    sendme_increment: int | None = None
    single_onion: bool = False


def make(
    key: BlindedKey,
    plan: DescriptorPlan,
    revision: int,
    now: float,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """One signed descriptor, as uploaded. `now` in seconds since 1970.

    Raises LocalProtocolError for too many introduction points, or more clients than fit.
    """
    if len(plan.points) > MAX_INTRODUCTION_POINTS:
        raise LocalProtocolError("a descriptor holds at most 20 introduction points")
    signer = SigningKey(random(32))
    cookie = random(COOKIE_BYTES) if plan.clients else b""
    seal = _Sealer(key, revision, random)
    inner = seal(_inner(plan, signer, now), cookie, ENCRYPTED)
    middle = _middle(plan.clients, key.subcredential, cookie, inner, random)
    outer = _outer(key, signer, revision, now, seal(middle, b"", SUPERENCRYPTED))
    signature = signer.sign(SIGNATURE_PREFIX + outer).signature
    text = outer + b"signature " + _bare(signature) + b"\n"
    if len(text) > MAX_BYTES:
        raise LocalProtocolError(
            "the descriptor is larger than HSDirs take", "authorize fewer clients"
        )
    return text


class _Sealer:
    """Encrypts one layer after another of the same descriptor."""

    def __init__(self, key: BlindedKey, revision: int, random: Callable[[int], bytes]) -> None:
        self._key, self._revision, self._random = key, revision, random

    def __call__(self, plain: bytes, cookie: bytes, constant: bytes) -> bytes:
        salt = self._random(SALT_BYTES)
        secret = self._key.public + cookie
        keys = layer_keys(secret, self._key.subcredential, self._revision, salt, constant)
        sealed = aes_ctr(keys.key, keys.iv).update(plain)
        return salt + sealed + layer_mac(keys, salt, sealed)


def _outer(key: BlindedKey, signer: SigningKey, revision: int, now: float, sealed: bytes) -> bytes:
    certificate = edcert.make(
        CertType.HS_DESCRIPTOR_SIGNING,
        bytes(signer.verify_key),
        key.public,
        key.sign,
        now + CERTIFICATE_SECONDS,
    )
    return (
        b"hs-descriptor 3\n"
        + b"descriptor-lifetime %d\n" % LIFETIME_MINUTES
        + b"descriptor-signing-key-cert\n"
        + _object("ED25519 CERT", certificate)
        + b"revision-counter %d\n" % revision
        + b"superencrypted\n"
        + _object("MESSAGE", sealed)
    )


def _middle(
    clients: Sequence[bytes],
    subcredential: bytes,
    cookie: bytes,
    sealed: bytes,
    random: Callable[[int], bytes],
) -> bytes:
    ephemeral = X25519PrivateKey.from_private_bytes(random(32))
    lines = [_client_line(ephemeral, c, subcredential, cookie, random) for c in clients]
    while not lines or len(lines) % CLIENTS_MULTIPLE:
        fake = (random(CLIENT_ID_BYTES), random(SALT_BYTES), random(COOKIE_BYTES))
        lines.append(b"auth-client " + b" ".join(map(_bare, fake)) + b"\n")
    text = (
        b"desc-auth-type x25519\n"
        + b"desc-auth-ephemeral-key "
        + base64.b64encode(x25519_public(ephemeral))
        + b"\n"
        + b"".join(sorted(lines))  # an order that does not tell fakes from clients
        + b"encrypted\n"
        + _object("MESSAGE", sealed).rstrip(b"\n")
    )
    return text + bytes(-len(text) % PADDING_BYTES)


def _client_line(
    ephemeral: X25519PrivateKey,
    client: bytes,
    subcredential: bytes,
    cookie: bytes,
    random: Callable[[int], bytes],
) -> bytes:
    name, key = client_keys(x25519(ephemeral, client), subcredential)
    iv = random(SALT_BYTES)
    sealed = aes_ctr(key, iv).update(cookie)
    return b"auth-client " + b" ".join(map(_bare, (name, iv, sealed))) + b"\n"


def _inner(plan: DescriptorPlan, signer: SigningKey, now: float) -> bytes:
    text = b"create2-formats 2\n"
    if plan.single_onion:
        text += b"single-onion-service\n"
    if plan.sendme_increment is not None:
        text += b"flow-control 1-2 %d\n" % plan.sendme_increment
    return text + b"".join(_point(point, signer, now) for point in plan.points)


def _point(point: PublishedPoint, signer: SigningKey, now: float) -> bytes:
    def certificate(kind: CertType, key: bytes) -> bytes:
        public = bytes(signer.verify_key)
        expires = now + CERTIFICATE_SECONDS
        body = edcert.make(kind, key, public, lambda m: signer.sign(m).signature, expires)
        return _object("ED25519 CERT", body)

    where = linkspec.pack(point.relay.specifiers)
    return b"".join(
        (
            b"introduction-point " + base64.b64encode(where) + b"\n",
            b"onion-key ntor " + base64.b64encode(point.relay.onion_key) + b"\n",
            b"auth-key\n",
            certificate(CertType.HS_INTRO_AUTH, point.auth_key),
            b"enc-key ntor " + base64.b64encode(point.encryption_key) + b"\n",
            b"enc-key-cert\n",
            certificate(CertType.HS_INTRO_ENCRYPTION, ed25519_of_x25519(point.encryption_key)),
        )
    )


def _bare(data: bytes) -> bytes:
    """base64 without its padding."""
    return base64.b64encode(data).rstrip(b"=")


def _object(name: str, data: bytes) -> bytes:
    """An object of the directory format: base64 in lines of 64 between two marks."""
    text = base64.b64encode(data)
    lines = b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    mark = name.encode()
    return b"-----BEGIN " + mark + b"-----\n" + lines + b"\n-----END " + mark + b"-----\n"
