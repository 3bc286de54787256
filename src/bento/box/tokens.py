"""Capabilities of 256 random bits. The box keeps only their hashes, so its memory and disk reveal none."""

from __future__ import annotations

import hashlib
import secrets

from bento.protocol import limits


def new_token() -> tuple[bytes, bytes]:
    """(the token for the client, its hash for the box's table)."""
    token = secrets.token_bytes(limits.TOKEN)
    return token, token_hash(token)


def token_hash(token: bytes) -> bytes:
    """What a token is looked up by: finding it takes a time that tells nothing of the token."""
    return hashlib.sha256(b"bento token\0" + token).digest()
