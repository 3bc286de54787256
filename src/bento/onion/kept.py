"""Introduction points as a service keeps them over its own restart: one record, secret.

A client that holds a descriptor knows relays and keys, so a service that comes back at the same relays
with the same keys is found without a new descriptor. What was seen there comes back too: else whoever
recorded an INTRODUCE2 could make the service answer it again after each restart.

    record  = version (1)  count (1)  point * count
    point   = relay's RSA identity (20)  authentication seed (32)  encryption key (32)
              expires (8, seconds since 1970)  introductions left (4)  n (4)  digest (16) * n
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bento.errors import RemoteProtocolError, UsageError
from bento.onion.crypto import Secret
from bento.onion.intro import (
    DIGEST_BYTES,
    INTRODUCTIONS,
    IntroductionKeysOfPoint,
    IntroductionPoint,
)
from bento.onion.linkspec import Target
from bento.onion.wire import Reader

MAX_POINTS = 20
_VERSION = 1
_RSA_BYTES, _KEY_BYTES = 20, 32


@dataclass(frozen=True, slots=True)
class KeptPoint:
    """A point without its relay's present addresses, which the consensus has."""

    rsa: bytes
    keys: IntroductionKeysOfPoint
    expires: int  # seconds since 1970
    left: int  # introductions
    seen: frozenset[bytes] = field(repr=False)

    @classmethod
    def of(cls, point: IntroductionPoint) -> KeptPoint:
        rsa = point.relay.identity.rsa
        return cls(rsa, point.keys, int(point.expires), max(point.left, 0), frozenset(point.seen))

    def at(self, relay: Target) -> IntroductionPoint:
        """The point again, at its relay as the consensus has it now."""
        point = IntroductionPoint(relay, 0, self.keys)
        point.expires, point.left, point.seen = self.expires, self.left, set(self.seen)
        return point


def pack(points: Iterable[KeptPoint]) -> Secret:
    """The record; it holds the points' secret keys."""
    parts = [_packed(point) for point in points]
    return Secret(b"".join([bytes([_VERSION, len(parts)]), *parts]))


def parse(record: bytes) -> list[KeptPoint]:
    """The points of a record, which is the caller's own: UsageError when it is none."""
    reader = Reader(record, "the record of introduction points")
    try:
        if reader.uint(1) != _VERSION:
            raise UsageError("the kept introduction points are of another version")
        count = reader.uint(1)
        if count > MAX_POINTS:
            raise UsageError("there are too many kept introduction points")
        points = [_parse(reader) for _ in range(count)]
        reader.end()
    except RemoteProtocolError as error:
        raise UsageError("the kept introduction points are damaged") from error
    return points


def _packed(point: KeptPoint) -> bytes:
    return b"".join(
        [
            point.rsa,
            *point.keys.secrets(),
            point.expires.to_bytes(8, "big"),
            point.left.to_bytes(4, "big"),
            len(point.seen).to_bytes(4, "big"),
            *sorted(point.seen),
        ]
    )


def _parse(reader: Reader) -> KeptPoint:
    rsa = reader.take(_RSA_BYTES)
    keys = IntroductionKeysOfPoint(reader.take(_KEY_BYTES), reader.take(_KEY_BYTES))
    expires, left, count = reader.uint(8), reader.uint(4), reader.uint(4)
    if max(left, count) > INTRODUCTIONS[1]:
        raise UsageError("the kept introduction points are damaged")
    digests = reader.take(count * DIGEST_BYTES)
    seen = frozenset(digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES))
    return KeptPoint(rsa, keys, expires, left, seen)
