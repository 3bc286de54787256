"""R5 for this room: whatever bytes a function sends and whatever text a manifest holds, the parsers
give what they declare and nothing else, whole and in pieces alike."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from bento.egress import Rule
from bento.egress.limits import MAX_HANDSHAKE
from bento.egress.socks_server import SocksError, SocksServer
from bento.errors import PolicyError

HELLO = b"\x05\x01\x00"
STREAMS = (
    HELLO + b"\x05\x01\x00\x01\x08\x08\x08\x08\x00\x50GET / HTTP/1.0\r\n",
    HELLO + b"\x05\x01\x00\x03\x0bexample.com\x01\xbb",
    HELLO + b"\x05\x01\x00\x03\x091.2.3.4.5\x01\xbb",
    HELLO + b"\x05\x01\x00\x03\x07[::1%1]\x01\xbb",
    b"\x05\x03\x02\x01\x00\x05\x01\x00\x04" + bytes(10) + b"\xff\xff\x7f\x00\x00\x01\x00\x50",
    HELLO + b"\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00",
    b"\x05\x02\x00\x02\x01\x02me\x01x\x05\x01\x00\x03\x0bexample.com\x01\xbbGET /",
    b"\x05\xff" + bytes(255) + b"\x05\x01\x00\x03\xff" + b"a" * 255 + b"\x00\x50",
)
ENTRIES = (
    *("*:*", "*:443", "example.com:80-90", "*.example.com:1-65535", "10.1.2.0/24:*"),
    *("93.184.216.34:443", "[2001:db9::]/32:443", "[::ffff:1.2.3.4]:80", "0x7f.1:80"),
)


ALPHABET = "*.:/-[]%0123456789abcfxz_\u0663\u00fc \n"


def mangled_bytes(random: Random) -> bytes:
    data = bytearray(random.choice(STREAMS))
    for _ in range(random.randint(0, 4)):
        at = random.randrange(len(data) + 1)
        cut = at + random.randint(0, 3)
        data[at:cut] = random.randbytes(random.randint(0, 3))
    return bytes(data[: random.randint(0, len(data))] if random.random() < 0.3 else data)


def mangled_text(random: Random) -> str:
    text = random.choice(ENTRIES)
    for _ in range(random.randint(0, 4)):
        at = random.randrange(len(text) + 1)
        put = "".join(random.choices(ALPHABET, k=random.randint(0, 3)))
        text = text[:at] + put + text[at + random.randint(0, 3) :]
    return text


def outcome(pieces: list[bytes]) -> tuple[object, ...]:
    parser, events = SocksServer(), []
    try:
        for piece in pieces:
            parser.receive(piece)
            while event := parser.next_event():
                events.append(event)
            assert parser.rest or len(parser._buffer) <= MAX_HANDSHAKE
    except SocksError as error:
        return (*events, error.detail, error.reply)
    return (*events, parser.rest)


def try_socks(random: Random) -> None:
    data = mangled_bytes(random)
    whole = outcome([data])
    at = random.randint(0, len(data))
    assert outcome([data[:at], data[at:]]) == whole, data
    if random.random() < 0.05:
        assert outcome([data[i : i + 1] for i in range(len(data))]) == whole, data


def try_rule(random: Random) -> None:
    text = mangled_text(random)
    try:
        rule = Rule.parse(text)
    except PolicyError:
        return
    assert Rule.parse(str(rule)) == rule, text


TARGETS = {"socks": try_socks, "rule": try_rule}


@pytest.mark.parametrize("target", TARGETS)
def test_r5_mangled_input_gives_what_is_declared(target: str) -> None:
    fuzz(TARGETS[target], 20_000, seed=1)


@pytest.mark.campaign
@pytest.mark.parametrize("target", TARGETS)
def test_r5_five_million_mangled_inputs_give_what_is_declared(target: str) -> None:
    fuzz(TARGETS[target], 5_000_000, seed=2)


def fuzz(attempt: Callable[[Random], None], count: int, seed: int) -> None:
    random = Random(seed)
    for _ in range(count):
        attempt(random)
