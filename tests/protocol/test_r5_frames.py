"""R5: altered frames of every message, and altered bytes of everything else the protocol reads, give what
they say or the declared error; frames whole as in pieces."""

from __future__ import annotations

import random

import pytest
from tests.protocol.mutation import altered
from tests.protocol.test_policy import POLICY
from tests.protocol.test_wire import ALL, EXAMPLES

from bento.errors import BentoError, RemoteProtocolError, UsageError
from bento.protocol import limits
from bento.protocol.manifest import Manifest
from bento.protocol.passes import Answer, Ask, Card, Pass
from bento.protocol.policy import Policy
from bento.protocol.puzzle import Solution
from bento.protocol.values import decode_values, encode_values
from bento.protocol.wire import FrameReader, encode

STREAMS = [encode(one) + encode(two) for one in EXAMPLES for two in EXAMPLES]
VALUES = encode_values([[1, -(2**70), 1.5, "text", b"bytes", None, True, [[]]], {"name": {"x": 0}}])
CARD = Card("club", 86400, 20000, 8, (b"m" * 256, b"n" * 256))
PASS = encode(Pass("c" * 32, 20000, b"k" * 32, b"p" * 32, b"s" * 256, b"o" * 64))
MANIFEST = b'image = "python"\nmemory = "64 MiB"\ncpu = 0.5\nlifetime = "10m"\negress = ["*:80"]'


def read(pieces: list[bytes]) -> tuple[list[object], str]:
    reader, messages = FrameReader(ALL, limits.SESSION_FRAME), []
    try:
        for piece in pieces:
            for message in reader.feed(piece):
                messages.append(message)
    except RemoteProtocolError as error:
        return messages, str(error)
    return messages, ""


def frames(rng: random.Random) -> None:
    data = altered(STREAMS[int(rng.random() * len(STREAMS))], rng)
    messages, error = read([data])
    assert data.startswith(b"".join(map(encode, messages)))
    if rng.random() < 1 / 16:
        pieces = [data[at : at + 1] for at in range(len(data))]
    else:
        at, to = sorted((int(rng.random() * len(data)), int(rng.random() * len(data))))
        pieces = [data[:at], data[at:to], data[to:]]
    assert read(pieces) == (messages, error)


def values(rng: random.Random) -> None:
    data = altered(VALUES, rng)
    try:
        found = decode_values(data)
    except RemoteProtocolError:
        return
    # As text, where a NaN is like itself; a dict may come with keys twice, of which one is kept.
    assert repr(decode_values(encode_values(found))) == repr(found)


def parsed(parse, seed: bytes, errors: type[BentoError]):
    def check(rng: random.Random) -> None:
        try:
            parse(altered(seed, rng))
        except errors as error:
            assert error.detail

    return check


def manifest(rng: random.Random) -> None:
    try:
        Manifest.parse(altered(MANIFEST, rng).decode("latin-1"))
    except UsageError as error:
        assert error.detail


CHEAP = {
    "frames": frames,
    "values": values,
    "solution": parsed(Solution.parse, bytes(48), RemoteProtocolError),
    "pass": parsed(Pass.parse, PASS, RemoteProtocolError),
}
DEAR = {  # JSON and TOML: a tenth as many
    "manifest": manifest,
    "policy": parsed(Policy.parse, POLICY.document(), RemoteProtocolError),
    "card": parsed(Card.parse, CARD.encode(), UsageError),
    "ask": parsed(Ask.parse, Ask(CARD.id, 20000, (b"b" * 256,)).encode(), UsageError),
    "answer": parsed(Answer.parse, Answer(CARD.id, 20000, (b"b" * 256,)).encode(), UsageError),
}


def fuzz(count: int, seed: int) -> int:
    """How many inputs were tried: `count` of each cheap kind, a tenth of each dear one."""
    rng = random.Random(seed)
    for number in range(count):
        for check in CHEAP.values():
            check(rng)
        if number % 10 == 0:
            for check in DEAR.values():
                check(rng)
    return count * len(CHEAP) + -(-count // 10) * len(DEAR)


def test_r5_altered_messages():
    fuzz(1_000, seed=1)


@pytest.mark.campaign
def test_r5_altered_messages_by_the_million():
    assert fuzz(1_200_000, seed=2) > 5_000_000
