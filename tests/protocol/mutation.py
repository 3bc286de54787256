"""Altered bytes for R5: seeded, without a framework around them, so that ten million take minutes."""

from __future__ import annotations

import random


def altered(data: bytes, rng: random.Random) -> bytes:
    """A few bits, bytes or pieces of `data` changed, dropped, repeated or moved."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at, to = sorted((int(rng.random() * (len(out) + 1)), int(rng.random() * (len(out) + 1))))
        kind = int(rng.random() * 6)
        if kind == 0 and out:
            out[int(rng.random() * len(out))] ^= 1 << int(rng.random() * 8)
        elif kind == 1 and out:
            out[int(rng.random() * len(out))] = _EDGES[int(rng.random() * len(_EDGES))]
        elif kind == 2:
            del out[at:to]
        elif kind == 3:
            out[at:at] = out[at:to]
        elif kind == 4:
            out[at:at] = rng.randbytes(int(rng.random() * 8))
        else:
            piece = out[at:to]
            del out[at:to]
            where = int(rng.random() * (len(out) + 1))
            out[where:where] = piece
    return bytes(out)


_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)
"""Where lengths, counts and flags change their meaning."""
