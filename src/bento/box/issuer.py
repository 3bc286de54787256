"""Who gives out passes: a key for each epoch, and a list of who had how many.

The list has names and counts; it cannot have more, because what is signed is blinded. The signer's half of
RFC 9474 is here: its power is taken by GMP's side-channel silent routine, on a value that a random
factor hides as well, and is checked before it leaves (a faulty signature would give the key away).
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from pathlib import Path

import gmpy2
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from bento.errors import HostError, RemoteProtocolError, UsageError
from bento.protocol.blindrsa import EXPONENT
from bento.protocol.passes import Answer, Ask, Card

_BITS = 2048  # RFC 9474 section 7.1 and RFC 9578 section 8.2: at least 2048
CARD = "card.json"
_ISSUED = "CREATE TABLE IF NOT EXISTS issued (epoch, holder, count, PRIMARY KEY (epoch, holder))"


def blind_sign(key: RSAPrivateKey, blinded: bytes) -> bytes:
    """Section 4.3. Raises RemoteProtocolError on what no holder of an honest request sends."""
    numbers = key.private_numbers()
    modulus = numbers.public_numbers.n
    message = int.from_bytes(blinded, "big")
    size = (key.key_size + 7) // 8
    if len(blinded) != size or message >= modulus:
        raise RemoteProtocolError("a blinded message has another size than the issuer's key")
    mask = secrets.randbelow(modulus - 1) + 1
    hidden = message * pow(mask, EXPONENT, modulus) % modulus
    masked = int(gmpy2.powmod_sec(hidden, numbers.d, modulus))
    signature = masked * pow(mask, -1, modulus) % modulus
    if pow(signature, EXPONENT, modulus) != message:
        raise HostError("this machine computed a wrong signature", "test its memory")
    return signature.to_bytes(size, "big")


def found(folder: Path, name: str, *, epoch: int, epochs: int, uses: int) -> Card:
    """A new issuer in `folder`: `epochs` keys for as many epochs of `epoch` seconds from now on,
    `uses` passes for each holder in each. Raises UsageError where there is one already."""
    if (folder / CARD).exists():
        raise UsageError(f"{folder} holds an issuer already", "name another folder")
    first = int(time.time()) // epoch
    moduli = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(first, first + epochs):
            key = generate_private_key(EXPONENT, _BITS)
            _write(folder / f"{number}.pem", _pem(key))
            moduli.append(key.public_key().public_numbers().n.to_bytes(_BITS // 8, "big"))
        card = Card(name, epoch, first, uses, tuple(moduli))
        (folder / CARD).write_bytes(card.encode())
    except OSError as error:
        raise HostError(f"cannot write {folder}: {error.strerror}") from None
    return card


class Issuer:
    """An issuer that was founded. Open it only where its folder is private."""

    def __init__(self, folder: Path) -> None:
        try:
            self.card = Card.parse((folder / CARD).read_bytes())
        except OSError as error:
            raise UsageError(
                f"{folder} holds no issuer: {error.strerror}", "bentod pass found"
            ) from None
        self._folder = folder

    def sign(self, ask: Ask, holder: str) -> Answer:
        """Signs what `holder` asks for, and notes how many that were.

        Raises UsageError when they are more than the holder has left in that epoch."""
        if ask.card != self.card.id:
            raise UsageError("the request is for another issuer's passes", "ask with this card")
        if ask.epoch < self.card.epoch_at(time.time()):
            raise UsageError("the request is for an epoch that is over", "make a new one")
        key = self._key(ask.epoch)
        signatures = tuple(blind_sign(key, blinded) for blinded in ask.blinded)
        self._note(ask.epoch, holder, len(signatures))
        return Answer(ask.card, ask.epoch, signatures)

    def _note(self, epoch: int, holder: str, count: int) -> None:
        ledger = sqlite3.connect(self._folder / "issued.sqlite", isolation_level=None)
        try:
            ledger.execute(_ISSUED)
            ledger.execute("BEGIN IMMEDIATE")
            key = (epoch, holder)
            row = ledger.execute("SELECT count FROM issued WHERE (epoch, holder) = (?, ?)", key)
            had = (row.fetchone() or (0,))[0]
            if had + count > self.card.uses:
                raise UsageError(
                    f"{holder} had {had} of {self.card.uses} passes of this epoch already",
                    "there are new ones in the next epoch",
                )
            ledger.execute("REPLACE INTO issued VALUES (?, ?, ?)", (*key, had + count))
            ledger.execute("COMMIT")
        finally:
            ledger.close()

    def _key(self, epoch: int) -> RSAPrivateKey:
        try:
            key = load_pem_private_key((self._folder / f"{epoch}.pem").read_bytes(), None)
        except OSError:
            raise UsageError(
                "this issuer has no key for that epoch", "found a new one, and give out its card"
            ) from None
        assert isinstance(key, RSAPrivateKey)
        return key


def _pem(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
