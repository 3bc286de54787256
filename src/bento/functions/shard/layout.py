"""What a shard is made of, and how a reader knows that each byte of it is genuine. Pure.

    sealed file = stripes of 1 MiB, the last one shorter
    fragments   = of each stripe, one for each shard (coding.py)
    shard       = roots (32 bytes for each shard), leaves (32 bytes for each stripe), fragments
    leaf        = SHA-256(0, fragment)
    shard root  = SHA-256(1, number of the shard, its leaves)
    root        = SHA-256(2, need, total, size, the shards' roots)

The ticket holds the root. So whoever has it knows from the first bytes whether a box gives the shard it
was given, and then of each fragment, before it is used: a wrong shard is named, never decoded.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bento.errors import RemoteProtocolError

from .coding import Coder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STRIPE = 1 << 20
"""Sealed bytes coded at once: what a reader holds is a few of these, whatever the file's size."""

MAX_SEALED = 1 << 40
"""Bytes: the leaves of a shard are then 32 MiB, which a reader holds."""

_HASH = 32


@dataclass(frozen=True)
class Plan:
    """How a sealed file of `size` bytes becomes `total` shards, any `need` of which suffice."""

    need: int
    total: int
    size: int

    def __post_init__(self) -> None:
        if not 0 < self.size <= MAX_SEALED:
            raise ValueError("a sealed file has 1 byte to 1 TiB")
        _ = self.coder

    @cached_property
    def coder(self) -> Coder:
        return Coder(self.need, self.total)

    @property
    def stripes(self) -> int:
        return -(-self.size // STRIPE)

    def stripe_size(self, stripe: int) -> int:
        return min(STRIPE, self.size - stripe * STRIPE)

    def fragment_size(self, stripe: int) -> int:
        return self.coder.fragment_size(self.stripe_size(stripe))

    @property
    def head_size(self) -> int:
        return _HASH * (self.total + self.stripes)

    def offset(self, stripe: int) -> int:
        """Where a stripe's fragment begins in every shard; behind the last one, the shard's size."""
        if stripe == 0:
            return self.head_size
        return (
            self.offset(0) + (stripe - 1) * self.fragment_size(0) + self.fragment_size(stripe - 1)
        )

    @property
    def shard_size(self) -> int:
        return self.offset(self.stripes)


def in_stripes(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, cut into stripes."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= STRIPE:
            yield bytes(held[:STRIPE])
            del held[:STRIPE]
    if held:
        yield bytes(held)


class Tree:
    """The hashes of all shards of one file, from its stripes' fragments in order."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._leaves = [bytearray() for _ in range(plan.total)]

    def add(self, fragments: Iterable[bytes]) -> None:
        for leaves, fragment in zip(self._leaves, fragments, strict=True):
            leaves += leaf(fragment)

    @property
    def _roots(self) -> bytes:
        return b"".join(shard_root(number, leaves) for number, leaves in enumerate(self._leaves))

    @property
    def root(self) -> bytes:
        return file_root(self._plan, self._roots)

    def head(self, shard: int) -> bytes:
        """What stands before a shard's fragments."""
        return self._roots + self._leaves[shard]


def leaf(fragment: bytes) -> bytes:
    return hashlib.sha256(b"\0" + fragment).digest()


def shard_root(shard: int, leaves: bytes | bytearray) -> bytes:
    return hashlib.sha256(b"\1" + shard.to_bytes(2, "big") + leaves).digest()


def file_root(plan: Plan, roots: bytes) -> bytes:
    about = struct.pack(">BBBQ", 2, plan.need, plan.total, plan.size)
    return hashlib.sha256(about + roots).digest()


class ShardReader:
    """One shard, fed from its first byte on; after the head it may go on at any stripe (`seek`).

    Raises RemoteProtocolError at the first hash that does not hold."""

    def __init__(self, plan: Plan, shard: int, root: bytes) -> None:
        self._plan = plan
        self._shard = shard
        self._root = root
        self._held = bytearray()
        self._leaves: bytes | None = None
        self.stripe = 0  # the next one

    def seek(self, stripe: int) -> None:
        """What is fed next is that stripe's fragment."""
        assert self._leaves is not None
        assert not self._held
        self.stripe = stripe

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The (stripe, fragment) pairs that `data` completes."""
        self._held += data
        if self._leaves is None:
            if len(self._held) < self._plan.head_size:
                return
            self._leaves = self._checked(self._taken(self._plan.head_size))
        while self.stripe < self._plan.stripes:
            size = self._plan.fragment_size(self.stripe)
            if len(self._held) < size:
                return
            fragment = self._taken(size)
            at = self.stripe * _HASH
            if leaf(fragment) != self._leaves[at : at + _HASH]:
                raise RemoteProtocolError(f"fragment {self.stripe} of the shard is corrupt")
            self.stripe += 1
            yield self.stripe - 1, fragment
        if self._held:
            raise RemoteProtocolError("bytes follow the end of the shard")

    def _taken(self, size: int) -> bytes:
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def _checked(self, head: bytes) -> bytes:
        split = _HASH * self._plan.total
        roots, leaves = head[:split], head[split:]
        own = roots[self._shard * _HASH :][:_HASH]
        if file_root(self._plan, roots) != self._root or shard_root(self._shard, leaves) != own:
            raise RemoteProtocolError("it is not the shard that was stored there")
        return leaves
