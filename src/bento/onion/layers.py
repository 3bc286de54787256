"""The layers of a circuit: sealing messages for a hop, opening what comes back (tor-spec 5.5, 6.1).

A run of cells that arrived together is opened with one AES call per hop and one hash: when the
digest of the *last* cell is right, it vouches for every cell before it, since the digest runs over
all of them. Only when that fails are the cells tried one by one. (What such a run does not prove
is the four digest bytes of its inner cells themselves; they carry nothing and are not used.)

Invariants: a message is never delivered unless its digest proves the hop; the digests that
acknowledgements need are taken at exactly the right cell, also in the middle of a run.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from bento.errors import RemoteProtocolError
from bento.onion import relay
from bento.onion.cells import BODY_BYTES
from bento.onion.crypto import Scratch, aes_ctr, same
from bento.onion.keys import HopKeys
from bento.onion.relay import HEADER, MAX_DATA, RelayCommand, RelayMessage
from bento.onion.window import FixedWindow, SendWindow

_DATA_BYTE = bytes([RelayCommand.DATA])
_FULL_SIZE = MAX_DATA.to_bytes(2, "big")
_ZEROS = bytes(4096)
# At least this many random bytes stand in some cell of every acknowledged run, so that nobody who
# knows the data can acknowledge what he has not received (C-tor: 16, and 4 zeros before them).
_RANDOM_GAP = 4 + 16


@dataclass(frozen=True, slots=True)
class Opened:
    """What one hop said: messages in order, and digests whose acknowledgement is now due."""

    hop: int
    messages: list[RelayMessage]
    acknowledge: list[bytes]


class Hop:
    """Running digests, ciphers and windows shared with one relay (or with an onion client)."""

    def __init__(self, keys: HopKeys, window: SendWindow | None = None) -> None:
        suite = keys.suite
        self.nonce = keys.nonce
        self.window: SendWindow = window or FixedWindow()
        self._forward = suite.digest(keys.forward_digest)
        self._backward = suite.digest(keys.backward_digest)
        self.encrypt = aes_ctr(keys.forward_key)
        self.decrypt = aes_ctr(keys.backward_key)
        self._sent = 0
        self._received = 0
        self._awaited: deque[bytes] = deque()
        self._random_cell = self._draw_random_cell()

    def digest_into(self, body: bytearray | memoryview) -> None:
        """Counts a body that is not DATA into the forward digest and writes it there."""
        self._forward.update(body)
        body[5:9] = self._forward.digest()[:4]

    def seal_data(
        self, stream: int, data: bytes | memoryview, cells: int, now: float
    ) -> tuple[bytearray, int]:
        """At most `cells` DATA bodies, not yet encrypted, and how much of `data` they hold."""
        plain = bytes(data[: cells * MAX_DATA])
        bodies, used = self._blank_bodies(stream, plain, cells)
        view, update, digest = memoryview(bodies), self._forward.update, self._forward.digest
        increment = self.window.increment
        due = (increment - 1 - self._sent % increment) * BODY_BYTES
        for at in range(0, len(bodies), BODY_BYTES):
            update(view[at : at + BODY_BYTES])
            whole = digest()
            view[at + 5 : at + 9] = whole[:4]
            if at == due:
                due += increment * BODY_BYTES
                self._awaited.append(whole[: relay.SENDME_DIGEST_BYTES])
                self.window.checkpoint(now)
        count = len(bodies) // BODY_BYTES
        self._sent += count
        self.window.sent(count)
        return bodies, used

    def _blank_bodies(self, stream: int, plain: bytes, cells: int) -> tuple[bytearray, int]:
        """Bodies without digests; now and then one leaves room for randomness."""
        head = HEADER.pack(RelayCommand.DATA, 0, stream, 0, 0)[:9]
        full = head + _FULL_SIZE
        bodies = bytearray()
        at = 0
        while at < len(plain) and cells:
            whole = min(self._random_cell, (len(plain) - at) // MAX_DATA, cells)
            if whole:
                end = at + whole * MAX_DATA
                chunks = [plain[start : start + MAX_DATA] for start in range(at, end, MAX_DATA)]
                bodies += full + full.join(chunks)
            else:
                whole, most = 1, MAX_DATA
                if not self._random_cell:
                    most -= _RANDOM_GAP
                    self._random_cell = self._draw_random_cell()
                chunk = plain[at : at + most]
                end = at + len(chunk)
                bodies += head + len(chunk).to_bytes(2, "big") + chunk + relay.fill(len(chunk))
            self._random_cell -= whole
            cells -= whole
            at = end
        return bodies, at

    def _draw_random_cell(self) -> int:
        """Once in every half to whole acknowledged run; the place need not be secret."""
        half = max(self.window.increment // 2, 1)
        return half + random.randrange(half)  # noqa: S311

    def acknowledged(self, data: bytes, now: float, *, blocked: bool) -> None:
        """A SENDME came: RemoteProtocolError unless it proves the cell we wait for."""
        digest = relay.parse_sendme(data)
        if not self._awaited or not same(self._awaited.popleft(), digest):
            raise RemoteProtocolError("a SENDME does not prove the cells it acknowledges")
        self.window.acknowledged(now, blocked=blocked)

    def open_run(self, bodies: bytes, count: int) -> tuple[list[RelayMessage], list[bytes]] | None:
        """Opens `count` decrypted bodies at once; None when they do not verify as a whole."""
        zeros = _ZEROS[:count] if count <= len(_ZEROS) else bytes(count)
        if bodies[1::BODY_BYTES] != zeros or bodies[2::BODY_BYTES] != zeros:
            return None
        blank = bytearray(bodies)
        for offset in range(relay.DIGEST_AT, relay.DIGEST_AT + 4):
            blank[offset::BODY_BYTES] = zeros
        last = (count - 1) * BODY_BYTES
        digest = self._backward.copy()
        points, at = [], 0
        view = memoryview(blank)
        commands, increment = bodies[0::BODY_BYTES], self.window.increment
        for index in _data_positions(commands, increment - self._received % increment, increment):
            digest.update(view[at : (index + 1) * BODY_BYTES])
            at = (index + 1) * BODY_BYTES
            points.append(digest.digest())
        digest.update(view[at:])
        if digest.digest()[:4] != bodies[last + 5 : last + 9]:
            return None
        self._backward = digest
        self._received += commands.count(_DATA_BYTE)
        return relay.parse_bodies(bodies), points

    def open_one(self, body: bytes) -> tuple[RelayMessage, bytes | None] | None:
        """Opens one decrypted body; None when it is not from this hop."""
        opened = self.open_run(body, 1)
        if opened is None:
            return None
        messages, points = opened
        return messages[0], points[0] if points else None


def _data_positions(commands: bytes, first: int, increment: int) -> Sequence[int]:
    """Where in a run stand the DATA cells numbered `first`, `first + increment`, ... (from 1)."""
    known = commands.count(_DATA_BYTE)
    if known < first:
        return []
    if known == len(commands):
        return range(first - 1, known, increment)
    at = [index for index, command in enumerate(commands) if command == RelayCommand.DATA]
    return at[first - 1 :: increment]


class Layers:
    """All hops of one circuit, the nearest first."""

    def __init__(self) -> None:
        self.hops: list[Hop] = []
        self._scratch = Scratch()

    def seal(self, message: RelayMessage, hop: int) -> bytes:
        """One encrypted body for hop number `hop`. DATA must go through `seal_data`."""
        body = relay.pack_body(message)
        self.hops[hop].digest_into(body)
        return self._encrypt(body, hop)

    def seal_sendmes(self, digests: Sequence[bytes], hop: int) -> bytes:
        """The encrypted bodies that acknowledge `digests`: one AES call per hop."""
        bodies = relay.pack_sendmes(digests)
        view = memoryview(bodies)
        for at in range(0, len(bodies), BODY_BYTES):
            self.hops[hop].digest_into(view[at : at + BODY_BYTES])
        return self._encrypt(bodies, hop)

    def seal_data(
        self, stream: int, data: bytes | memoryview, cells: int, hop: int, now: float
    ) -> tuple[bytes, int]:
        """At most `cells` encrypted DATA bodies (one AES call per hop), and the bytes they hold."""
        bodies, used = self.hops[hop].seal_data(stream, data, cells, now)
        return self._encrypt(bodies, hop), used

    def _encrypt(self, bodies: bytearray, hop: int) -> bytes:
        passed: bytearray | memoryview = bodies
        for layer in reversed(self.hops[: hop + 1]):
            passed = self._scratch.through(layer.encrypt, passed)
        return bytes(passed)

    def open(self, bodies: bytes) -> list[Opened]:
        """Opens a run of bodies; RemoteProtocolError when one is from no hop of ours."""
        if not self.hops:
            raise RemoteProtocolError("a relay cell came before the circuit was made")
        found: list[Opened] = []
        last = len(self.hops) - 1
        passed: bytes | memoryview = bodies
        for index, hop in enumerate(self.hops):
            passed = self._scratch.through(hop.decrypt, passed)
            if index < last and (candidates := _recognized(passed)):
                passed = _take_own(hop, index, bytes(passed), candidates, found)
                if not passed:
                    return found
        found.append(_open_last(self.hops[last], last, bytes(passed)))
        return found


def _recognized(bodies: bytes | memoryview) -> list[int]:
    """Offsets of bodies whose "recognized" is zero: one in 65,536 is so by chance."""
    firsts, offsets = bytes(bodies[1::BODY_BYTES]), []
    at = firsts.find(0)
    while at >= 0:
        if not bodies[at * BODY_BYTES + 2]:
            offsets.append(at * BODY_BYTES)
        at = firsts.find(0, at + 1)
    return offsets


def _take_own(
    hop: Hop, index: int, bodies: bytes, candidates: list[int], found: list[Opened]
) -> bytes:
    """Takes what a hop on the way said itself out of a run; the rest goes on."""
    rest: list[bytes] = []
    for start in range(0, len(bodies), BODY_BYTES):
        body = bodies[start : start + BODY_BYTES]
        opened = hop.open_one(body) if start in candidates else None
        if opened is None:
            rest.append(body)
        else:
            message, point = opened
            found.append(Opened(index, [message], [point] if point else []))
    return b"".join(rest)


def _open_last(hop: Hop, index: int, bodies: bytes) -> Opened:
    count = len(bodies) // BODY_BYTES
    whole = hop.open_run(bodies, count)
    if whole is not None:
        return Opened(index, *whole)
    messages: list[RelayMessage] = []
    points: list[bytes] = []
    for start in range(0, count * BODY_BYTES, BODY_BYTES):
        opened = hop.open_one(bodies[start : start + BODY_BYTES])
        if opened is None:
            raise RemoteProtocolError("a relay cell is from no hop of its circuit")
        messages.append(opened[0])
        if opened[1]:
            points.append(opened[1])
    return Opened(index, messages, points)
