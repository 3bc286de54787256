"""Who a box is: its Ed25519 key (policies are signed with it) and its onion service's key.

Both are made once and kept in the box's state folder, readable by its owner only.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bento.errors import HostError
from bento.protocol.policy import key_hash
from bento.safelog import Sensitive
from bento.tor.onion_service import OnionKey

if TYPE_CHECKING:
    from pathlib import Path

_SEED = 32  # bytes of an Ed25519 private key, RFC 8032


@dataclass(frozen=True)
class Identity:
    """A box's two keys; neither shows in its repr."""

    signing_key: Ed25519PrivateKey = field(repr=False)
    onion_key: OnionKey = field(repr=False)

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the Ed25519 public key."""
        return self.signing_key.public_key().public_bytes_raw()

    @property
    def token_key(self) -> Sensitive[bytes]:
        """Whoever has it makes tokens of this box: derived, so that there is one secret to keep."""
        seed = self.signing_key.private_bytes_raw()
        return Sensitive(hmac.digest(seed, b"bento token key 1", "sha256"))

    @property
    def key_hash(self) -> str:
        """What the relay's ContactInfo announces: 43 characters of base64url."""
        return key_hash(self.public_key)

    @property
    def key_digest(self) -> bytes:
        """The same as 32 bytes: the SHA-256 of the public key."""
        return hashlib.sha256(self.public_key).digest()

    @property
    def onion(self) -> str:
        """The onion address without `.onion`: 56 characters."""
        return self.onion_key.address


def load_or_create(state: Path) -> Identity:
    """The identity in `state`, made on first use. Raises HostError when it cannot be kept."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        seed = _load_or_create_seed(state / "identity.key")
    except OSError as error:
        raise HostError(
            f"the box's identity in {state} cannot be read or written: {error.strerror}",
            "bentod needs a state folder of its own that it may write",
        ) from None
    if len(seed) != _SEED:
        raise HostError(f"{state / 'identity.key'} is no key", "restore it from a copy")
    signing_key = Ed25519PrivateKey.from_private_bytes(seed)
    return Identity(signing_key, OnionKey.load_or_generate(state / "onion.key"))


def load(state: Path) -> Identity | None:
    """The identity in `state`, None if it has not been made yet. Raises HostError."""
    if not ((state / "identity.key").exists() and (state / "onion.key").exists()):
        return None
    return load_or_create(state)


def _load_or_create_seed(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        seed = os.urandom(_SEED)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(seed)
        file.flush()
        os.fsync(file.fileno())
    return seed
