"""Reading v3 onion service descriptors as a client does: the mirror of `descriptor`.

What a client checks before it believes a descriptor, as C-tor does:

    no.  check
    1    the outer layer has its fields once and in order, the revision and lifetime are numbers
    2    the signing key certificate is of type 8, in date, and signed by the blinded key
    3    the blinded key is the one that follows from the address and the period
    4    the signature under the descriptor is the signing key's
    5    each layer's MAC is right before anything of it is used
    6    with client authorization: our line is there, and its cookie opens the inner layer
    7    each introduction point has both certificates, of types 9 and 11, signed by the signing key
    8    there are at most 20 points, each naming one relay
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bento.errors import RemoteProtocolError
from bento.onion import descriptor, edcert, linkspec
from bento.onion.crypto import SHA3_BYTES, aes_ctr, same, x25519
from bento.onion.descriptor import COOKIE_BYTES, SALT_BYTES, PublishedPoint
from bento.onion.edcert import CertType
from bento.onion.wire import Reader

_OBJECT = r"-----BEGIN {0}-----\n([A-Za-z0-9+/=\n]*?)\n?-----END {0}-----"
_MESSAGE, _CERT = _OBJECT.format("MESSAGE"), _OBJECT.format("ED25519 CERT")
_OUTER = re.compile(
    r"hs-descriptor 3\n"
    r"descriptor-lifetime (\d{1,4})\n"
    rf"descriptor-signing-key-cert\n{_CERT}\n"
    r"revision-counter (\d{1,20})\n"
    rf"superencrypted\n{_MESSAGE}\n"
    r"signature ([A-Za-z0-9+/]{86})\n?"
)
_MIDDLE = re.compile(
    r"desc-auth-type x25519\n"
    r"desc-auth-ephemeral-key (\S{43,44})\n"
    r"((?:auth-client \S+ \S+ \S+\n)+)"
    rf"encrypted\n{_MESSAGE}\n?\x00*"
)
_POINT = re.compile(
    r"introduction-point (\S+)\n"
    r"onion-key ntor (\S+)\n"
    rf"auth-key\n{_CERT}\n"
    r"enc-key ntor (\S+)\n"
    rf"enc-key-cert\n{_CERT}\n?"
)
_FLOW = re.compile(r"(?m)^flow-control (\d{1,3})-(\d{1,3}) (\d{1,3})$")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a client learns. `sendme_increment` is None without congestion control."""

    revision: int
    points: tuple[PublishedPoint, ...]
    sendme_increment: int | None
    single_onion: bool


def read(
    text: bytes,
    blinded: bytes,
    subcredential: bytes,
    now: float,
    client_key: X25519PrivateKey | None = None,
) -> Descriptor:
    """Opens a descriptor; RemoteProtocolError when a row of the table fails."""
    if len(text) > descriptor.MAX_BYTES:
        raise RemoteProtocolError("the descriptor is too large")
    match = _OUTER.fullmatch(text.decode("ascii", "replace"))
    if match is None:
        raise RemoteProtocolError("the descriptor's outer layer is not in the format")
    certificate = _certificate(match[2], CertType.HS_DESCRIPTOR_SIGNING, blinded, now)
    signed = text[: text.rindex(b"signature ")]
    signature = _decode(match[5] + "==")
    if not edcert.signature_is_good(
        certificate.key, descriptor.SIGNATURE_PREFIX + signed, signature
    ):
        raise RemoteProtocolError("the descriptor is badly signed")
    opener = _Opener(blinded, subcredential, int(match[3]))
    middle = opener(_decode(match[4]), b"", descriptor.SUPERENCRYPTED)
    sealed, cookie = _read_middle(middle, subcredential, client_key)
    inner = opener(sealed, cookie, descriptor.ENCRYPTED)
    return _read_inner(inner, int(match[3]), certificate.key, now)


class _Opener:
    def __init__(self, blinded: bytes, subcredential: bytes, revision: int) -> None:
        self._blinded, self._subcredential = blinded, subcredential
        self._revision = revision % 2**64

    def __call__(self, data: bytes, cookie: bytes, constant: bytes) -> str:
        if len(data) < SALT_BYTES + SHA3_BYTES:
            raise RemoteProtocolError("a layer of the descriptor is cut short")
        salt, sealed, mac = data[:SALT_BYTES], data[SALT_BYTES:-SHA3_BYTES], data[-SHA3_BYTES:]
        keys = descriptor.layer_keys(
            self._blinded + cookie, self._subcredential, self._revision, salt, constant
        )
        if not same(mac, descriptor.layer_mac(keys, salt, sealed)):
            raise RemoteProtocolError(
                "a layer of the descriptor does not open", "it may need client authorization"
            )
        return aes_ctr(keys.key, keys.iv).update(sealed).decode("ascii", "replace")


def _read_middle(
    text: str, subcredential: bytes, client_key: X25519PrivateKey | None
) -> tuple[bytes, bytes]:
    match = _MIDDLE.fullmatch(text)
    if match is None:
        raise RemoteProtocolError("the descriptor's middle layer is not in the format")
    sealed = _decode(match[3])
    if client_key is None:
        return sealed, b""
    shared = x25519(client_key, _decode(match[1]))
    name, key = descriptor.client_keys(shared, subcredential)
    for line in match[2].splitlines():
        who, iv, cookie = (_decode(word) for word in line.split()[1:])
        if same(who, name) and len(iv) == SALT_BYTES and len(cookie) == COOKIE_BYTES:
            return sealed, aes_ctr(key, iv).update(cookie)
    raise RemoteProtocolError("this client is not among those the service authorized")


def _read_inner(text: str, revision: int, signer: bytes, now: float) -> Descriptor:
    head, *blocks = re.split(r"(?m)^(?=introduction-point )", text)
    formats = re.search(r"(?m)^create2-formats (.*)$", head)
    if formats is None or "2" not in formats[1].split():
        raise RemoteProtocolError("the service offers no handshake that we speak")
    if len(blocks) > descriptor.MAX_INTRODUCTION_POINTS:
        raise RemoteProtocolError("the descriptor has too many introduction points")
    flow = _FLOW.search(head)
    return Descriptor(
        revision,
        tuple(_read_point(block, signer, now) for block in blocks),
        int(flow[3]) if flow and int(flow[1]) <= 2 <= int(flow[2]) else None,
        "\nsingle-onion-service\n" in head,
    )


def _read_point(block: str, signer: bytes, now: float) -> PublishedPoint:
    match = _POINT.match(block)
    if match is None:
        raise RemoteProtocolError("an introduction point is not in the format")
    reader = Reader(_decode(match[1]), "an introduction point")
    specifiers = linkspec.read(reader)
    reader.end()
    auth = _certificate(match[3], CertType.HS_INTRO_AUTH, signer, now)
    _certificate(match[5], CertType.HS_INTRO_ENCRYPTION, signer, now)
    onion_key, encryption_key = _decode(match[2]), _decode(match[4])
    if len(onion_key) != 32 or len(encryption_key) != 32:
        raise RemoteProtocolError("an introduction point has a key of a wrong size")
    return PublishedPoint(linkspec.target(specifiers, onion_key), auth.key, encryption_key)


def _certificate(text: str, kind: CertType, signer: bytes, now: float) -> edcert.EdCert:
    certificate = edcert.parse(_decode(text))
    if certificate.kind != kind:
        raise RemoteProtocolError("a certificate of the descriptor is of another type")
    certificate.check(signer, now)
    return certificate


def _decode(text: str) -> bytes:
    bare = text.replace("\n", "").rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RemoteProtocolError("the descriptor has bad base64") from error
