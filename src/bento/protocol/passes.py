"""Anonymous passes: N uses an epoch, which neither issuer nor box can tell whose they are.

    Card     what an issuer makes public: its keys, one an epoch. It never changes: its hash is its name
    Ask      blinded one-time keys, from a holder to the issuer
    Answer   their blind signatures, back again
    Pass     what a box is shown: a one-time Ed25519 key, the issuer's signature of it (RFC 9474), and
             that key's own signature of the request it is shown with

A pass is good once at each box that honours its issuer. The second signature names the box and the
function, so a box that was shown a pass can use it nowhere else.

Boxes state the cards they honour in their signed policy. A client shows a pass only for a card it
holds whole: an issuer that gave each holder keys of his own would have to have boxes announce them all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from bento.errors import RemoteProtocolError, UsageError
from bento.protocol import blindrsa, limits
from bento.protocol.wire import U32, Blob, Fixed, FrameReader, Message, Text, encode
from bento.protocol.wire import field as wire_field

_MESSAGE = b"bento pass v1\0"
_SHOWN = b"bento pass shown v1\0"
_MOST_EPOCHS = 1000
_MOST_USES = 1000


@dataclass(frozen=True)
class Card:
    """`epoch` is seconds; `moduli` are the keys of the epochs from number `first` on."""

    name: str
    epoch: int
    first: int
    uses: int
    moduli: tuple[bytes, ...]

    @property
    def id(self) -> str:
        """32 hexadecimal digits: the card as it stands, keys and all."""
        return hashlib.sha256(self.encode()).hexdigest()[:32]

    def encode(self) -> bytes:
        table = vars(self) | {"moduli": [_text(modulus) for modulus in self.moduli]}
        return json.dumps(table, sort_keys=True, indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Raises UsageError on anything but a card."""
        table = _table(raw, "card", ("name", "epoch", "first", "uses", "moduli"))
        name, moduli = table["name"], _blobs(table["moduli"], "card", _MOST_EPOCHS)
        numbers = [table[key] for key in ("epoch", "first", "uses")]
        good = all(isinstance(each, int) and 0 < each < 1 << 32 for each in numbers)
        if not good or not isinstance(name, str) or not 0 < len(name) <= 64:
            raise _no("card")
        if not moduli or table["uses"] > _MOST_USES or {len(each) for each in moduli} != {256}:
            raise _no("card")
        return cls(name, table["epoch"], table["first"], table["uses"], moduli)

    def epoch_at(self, now: float) -> int:
        return int(now) // self.epoch

    def key(self, epoch: int) -> RSAPublicKey | None:
        """The key of an epoch; None for one that the card has none for."""
        if not self.first <= epoch < self.first + len(self.moduli):
            return None
        return blindrsa.public_key(self.moduli[epoch - self.first])


@dataclass(frozen=True)
class _Batch:
    """One line of JSON between a holder and the issuer."""

    card: str
    epoch: int
    blobs: tuple[bytes, ...]

    def encode(self) -> bytes:
        return json.dumps(vars(self) | {"blobs": [_text(blob) for blob in self.blobs]}).encode()

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Raises UsageError on anything else."""
        what = cls.__name__.lower()
        table = _table(raw, what, ("card", "epoch", "blobs"))
        card, epoch = table["card"], table["epoch"]
        if not isinstance(card, str) or not isinstance(epoch, int):
            raise _no(what)
        return cls(card, epoch, _blobs(table["blobs"], what, _MOST_USES))


class Ask(_Batch):
    @property
    def blinded(self) -> tuple[bytes, ...]:
        return self.blobs


class Answer(_Batch):
    @property
    def signatures(self) -> tuple[bytes, ...]:
        return self.blobs


@dataclass(frozen=True)
class Secret:
    """A pass in the making, or one that was not shown yet: known to its holder only."""

    seed: bytes = field(repr=False)
    prefix: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> Secret:
        return cls(secrets.token_bytes(32), secrets.token_bytes(blindrsa.PSS_RANDOMIZED.prefix))

    @property
    def key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def prepared(self) -> bytes:
        return _prepared(self.prefix, self.key.public_key().public_bytes_raw())


class Pass(Message, tag=0x50):
    """As a box is shown it, inside a Create."""

    card: str = wire_field(Text(32))
    epoch: int = wire_field(U32)
    key: bytes = wire_field(Fixed(32))
    prefix: bytes = wire_field(Fixed(32))
    signature: bytes = wire_field(Blob(256))
    proof: bytes = wire_field(Fixed(64))

    @classmethod
    def parse(cls, raw: bytes) -> Pass:
        """Raises RemoteProtocolError on anything but a pass."""
        reader = FrameReader((Pass,), limits.PASS)
        found = list(reader.feed(raw))
        if len(found) != 1 or reader.rest():
            raise RemoteProtocolError("this is no pass")
        assert isinstance(found[0], Pass)
        return found[0]

    def is_of(self, issuer: RSAPublicKey) -> bool:
        return blindrsa.verify(issuer, _prepared(self.prefix, self.key), self.signature)

    def is_for(self, box_key: bytes, request: bytes) -> bool:
        """Whether its holder showed it to the box of `box_key` with `request`."""
        try:
            key = Ed25519PublicKey.from_public_bytes(self.key)
            key.verify(self.proof, _SHOWN + box_key + request)
        except (InvalidSignature, ValueError):
            return False
        return True


def show(
    card: str, epoch: int, secret: Secret, signature: bytes, box_key: bytes, request: bytes
) -> bytes:
    """The pass for one request to the box whose key has the SHA-256 `box_key`."""
    proof = secret.key.sign(_SHOWN + box_key + request)
    public = secret.key.public_key().public_bytes_raw()
    return encode(Pass(card, epoch, public, secret.prefix, signature, proof))


def _prepared(prefix: bytes, key: bytes) -> bytes:
    return prefix + _MESSAGE + key


def _text(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


def _table(raw: bytes, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        table = json.loads(raw)
    except (ValueError, RecursionError):
        raise _no(what) from None
    if not isinstance(table, dict) or set(table) != set(keys):
        raise _no(what)
    return table


def _blobs(value: object, what: str, most: int) -> tuple[bytes, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise _no(what)
    try:
        return tuple(base64.b64decode(item, validate=True) for item in value)
    except (TypeError, ValueError, binascii.Error):
        raise _no(what) from None


def _no(what: str) -> UsageError:
    return UsageError(f"this is no {what} of passes", "copy the file again, whole")
