"""Whose stream is it: the SOCKS user names by which the functions' tor keeps functions apart.

Each function has an isolation key of its own. Whatever the box passes to the functions' tor on
its behalf carries the user name `key` or `key.NAME`, where NAME is the user name that the
function itself gave to its SOCKS port. The box writes these names, never the function: with
another's key a function could claim another's streams.
"""

from __future__ import annotations

import secrets

from bento.errors import UsageError

_KEY_BYTES = 16
_MAX_USER = 255  # RFC 1929: one length byte


def new_isolation_key() -> str:
    """128 random bits as 32 hex digits: no function can name another's."""
    return secrets.token_hex(_KEY_BYTES)


def tor_username(key: str, guest_name: str = "") -> str:
    """The SOCKS user name to give tor for a function's connection.

    Raises UsageError if the two do not fit the 255 bytes of RFC 1929.
    """
    name = f"{key}.{guest_name}" if guest_name else key
    if len(name.encode("utf-8", "surrogateescape")) > _MAX_USER:
        raise UsageError("a SOCKS user name inside a function may have 222 bytes")
    return name


def is_owned(key: str, username: str | None) -> bool:
    """Whether a user name that tor reports belongs to the function with this key."""
    return username is not None and (username == key or username.startswith(key + "."))


def guest_name(key: str, username: str) -> str:
    """The function's own part of a user name that `is_owned`; empty if it gave none."""
    return username[len(key) + 1 :]
