"""Onion services made by a running tor: keys, addresses, ADD_ONION.

Invariant: the long-term key stays with its owner. It is made and kept here as an Ed25519 seed,
tor gets the expanded form for as long as the control connection lives (no Detach), and no text
that this module makes for people or logs holds it.

Formats: rend-spec-v3 section 6 (addresses), control-spec 3.27 (ADD_ONION), RFC 8032 5.1.5.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bento.errors import HostError, TorError, UsageError
from bento.tor.control_codec import Event
from bento.tor.controller import Controller, Subscription

ADDRESS_LENGTH = 56  # characters, without ".onion"
_VERSION = b"\x03"
_SEED_LENGTH = 32
_KEY_LENGTH = 32


class OnionKey:
    """The identity key of one v3 onion service, as its 32-byte Ed25519 seed."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != _SEED_LENGTH:
            raise UsageError("an onion key is a seed of 32 bytes")
        self._seed = seed
        self.public_key = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return "OnionKey(...)"

    @classmethod
    def generate(cls) -> OnionKey:
        return cls(os.urandom(_SEED_LENGTH))

    @classmethod
    def load(cls, path: Path) -> OnionKey:
        """The key in `path`, written by `save`. Raises HostError if it is not there or no key."""
        try:
            with path.open("rb") as file:
                seed = file.read(_SEED_LENGTH + 1)
        except OSError as error:
            raise HostError(f"cannot read the onion key {path}: {error.strerror}") from None
        if len(seed) != _SEED_LENGTH:
            raise HostError(f"{path} is no onion key", "restore it from a copy")
        return cls(seed)

    @classmethod
    def load_or_generate(cls, path: Path) -> OnionKey:
        """The key in `path`; a new one, saved there, if there is none yet."""
        if path.exists():
            return cls.load(path)
        key = cls.generate()
        key.save(path)
        return key

    def save(self, path: Path) -> None:
        """Write the key for its owner only; never over another key. Raises HostError."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(handle, "wb") as file:
                file.write(self._seed)
                file.flush()
                os.fsync(handle)
        except OSError as error:
            raise HostError(f"cannot write the onion key {path}: {error.strerror}") from None

    @property
    def address(self) -> str:
        """The 56 characters before `.onion`."""
        return encode_address(self.public_key)

    @property
    def control_key(self) -> str:
        """`ED25519-V3:` and the expanded secret key, as ADD_ONION takes it. A secret."""
        digest = bytearray(hashlib.sha512(self._seed).digest())
        # RFC 8032 5.1.5: the scalar is a multiple of 8 with bit 254 set.
        digest[0] &= 0b11111000
        digest[31] &= 0b01111111
        digest[31] |= 0b01000000
        return "ED25519-V3:" + base64.b64encode(digest).decode()


def encode_address(public_key: bytes) -> str:
    """The v3 address, without `.onion`, of an Ed25519 public key."""
    raw = public_key + _checksum(public_key) + _VERSION
    return base64.b32encode(raw).decode().lower()


def decode_address(address: str) -> bytes:
    """The public key in a v3 address (56 characters, lower case, no `.onion`).

    Raises TorError if it is not exactly such an address: length, alphabet, checksum, version.
    """
    try:
        if len(address) != ADDRESS_LENGTH or address != address.lower():
            raise ValueError
        raw = base64.b32decode(address.upper().encode("ascii"))
    except (ValueError, binascii.Error):
        raise _no_address() from None
    public_key = raw[:_KEY_LENGTH]
    if raw[_KEY_LENGTH:] != _checksum(public_key) + _VERSION:
        raise _no_address()
    return public_key


class OnionService:
    """One service of a control connection: it ends with that connection or with `remove`."""

    def __init__(self, controller: Controller, address: str) -> None:
        self.address = address
        self._controller = controller
        self._uploaded = asyncio.Event()
        self._subscription: Subscription | None = None

    async def published(self) -> None:
        """Wait until a directory holds the descriptor, so that clients can find the service.

        No time limit of its own. Raises TorError if the control connection ends first.
        """
        uploaded = asyncio.ensure_future(self._uploaded.wait())
        ends: list[asyncio.Future[Any]] = [uploaded, self._controller.closed]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not uploaded.done():
                raise TorError("tor went away before the onion service was published")
        finally:
            uploaded.cancel()

    async def remove(self) -> None:
        """End the service now."""
        await self._stop_listening()
        await self._controller.command(f"DEL_ONION {self.address}")

    def _hear(self, event: Event) -> None:
        if event.positional[:2] == ("UPLOADED", self.address):
            self._uploaded.set()

    async def _listen(self) -> None:
        self._subscription = await self._controller.subscribe({"HS_DESC"}, self._hear)

    async def _stop_listening(self) -> None:
        if self._subscription is not None:
            await self._subscription.cancel()
            self._subscription = None


async def add_onion(
    controller: Controller,
    key: OnionKey,
    port: int,
    target: str,
    non_anonymous: bool,
    *,
    proof_of_work: bool = False,
) -> OnionService:
    """Start the onion service of `key`: its `port` leads to `target`.

    `target` is `unix:/path` or `HOST:PORT`. `non_anonymous` is the single hop kind, which hides
    nothing of the service's place and is faster; the whole tor must be in that mode
    (HiddenServiceSingleHopMode 1, HiddenServiceNonAnonymousMode 1, SocksPort 0).
    `proof_of_work` has tor ask clients for work before it answers them, once there are more than it
    can answer (torspec proposal 327; the keyword is new in tor 0.4.9). ADD_ONION also takes its queue's
    rate and burst, which stay tor's own defaults; it has no word for exporting circuits' identities.
    The service lives as long as `controller`. Raises TorError if tor refuses.
    """
    if not 0 < port < 65536:
        raise UsageError(f"{port} is no port")
    if not target or any(char.isspace() or char in ',"' for char in target):
        raise UsageError(f"{target!r} is no target of an onion service")
    service = OnionService(controller, key.address)
    await service._listen()
    flags = " Flags=NonAnonymous" if non_anonymous else ""
    work = " PoWDefensesEnabled=1" if proof_of_work else ""
    try:
        await controller.command(f"ADD_ONION {key.control_key}{flags}{work} Port={port},{target}")
    except BaseException:
        await service._stop_listening()
        raise
    return service


def _checksum(public_key: bytes) -> bytes:
    return hashlib.sha3_256(b".onion checksum" + public_key + _VERSION).digest()[:2]


def _no_address() -> TorError:
    # Not the text itself: an onion name that somebody uses is not for logs.
    return TorError("that is no v3 onion address", "it has 56 letters and digits before .onion")
