"""Key material that can be wiped and cannot be printed. Runs in the guest: standard library only.

Invariant: while alive, the key lies in one place (plus the cipher's own expanded copy); after
`wipe` that place holds zeros. Python copies `bytes` freely, so a key is never one: it is read from
the kernel straight into its final buffer.
"""

from __future__ import annotations

import ctypes

KEY_SIZE = 32  # bytes: AES-256, HMAC-SHA256


class Secret:
    """32 random bytes."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray(KEY_SIZE)
        with open("/dev/urandom", "rb", buffering=0) as source:
            if source.readinto(self._buffer) != KEY_SIZE:
                raise OSError("the kernel gave no random bytes")

    def view(self) -> bytearray:
        """The key itself: pass it on to a cipher, keep no copy."""
        return self._buffer

    def wipe(self) -> None:
        self._buffer[:] = bytes(KEY_SIZE)

    def __repr__(self) -> str:
        return "<Secret>"

    def __reduce__(self) -> str:
        raise TypeError("a secret is never pickled")


def forget(data: bytes) -> None:
    """Overwrite a `bytes` object that only the caller holds, such as a freshly derived key."""
    start = id(data) + bytes.__basicsize__ - 1  # CPython: the content follows the header
    ctypes.memset(start, 0, len(data))
