"""Keys that tokens can be bound to, and the proofs made with them.

    bentokey1…   the public half, which the receiver of a ticket shows to its giver

The private halves are files under $BENTO_HOME/holders. A key is for one giver: a box that sees the same
key in two tokens knows that they are one holder's.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bento.errors import UsageError
from bento.home import bento_home
from bento.protocol.caveats import Holder, holder_message

if TYPE_CHECKING:
    from pathlib import Path

    from bento.protocol.capability import Capability

PREFIX = "bentokey1"
_KEY, _CHECK = 32, 4


def make() -> str:
    """A new key; its public half as a line."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    path = _path(public)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.private_bytes_raw())
    return PREFIX + base64.b32encode(public + _check(public)).decode().lower().rstrip("=")


def parse(line: str) -> bytes:
    """The public key of a line. Raises UsageError."""
    text = "".join(line.split()).lower()
    if not text.startswith(PREFIX):
        raise UsageError("this is no holder's key", f"it begins with {PREFIX}")
    encoded = text.removeprefix(PREFIX).upper()
    try:
        raw = base64.b32decode(encoded + "=" * (-len(encoded) % 8))
    except ValueError:
        raw = b""
    if len(raw) != _KEY + _CHECK or raw[_KEY:] != _check(raw[:_KEY]):
        raise UsageError("the holder's key is incomplete or was altered", "copy it again, whole")
    return raw[:_KEY]


def prove(token: Capability, box: bytes, operations: int, session: bytes) -> bytes:
    """The proof a request with `token` needs: empty when it names no holder. `box` is the SHA-256 of
    the box's key, or, for a conclave's own token, the channel's exporter; `session` is the session's
    tag. Raises UsageError when the key is somebody else's."""
    keys = {condition.key for condition in token.caveats if isinstance(condition, Holder)}
    if not keys:
        return b""
    private = [key for key in map(_load, keys) if key is not None]
    if len(private) != len(keys):
        raise UsageError(
            "the ticket belongs to the holder of a key that is not here",
            "use it where `bento holder` made that key",
        )
    message = holder_message(box, token.encode(), operations, session)
    return private[0].sign(message)


def _load(public: bytes) -> Ed25519PrivateKey | None:
    try:
        return Ed25519PrivateKey.from_private_bytes(_path(public).read_bytes())
    except (OSError, ValueError):
        return None


def _path(public: bytes) -> Path:
    return bento_home() / "holders" / hashlib.sha256(b"bento holder\0" + public).hexdigest()[:32]


def _check(public: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode() + public).digest()[:_CHECK]
