"""R5: altered tokens, requests and tickets give what was meant or the declared error; whole = bytewise."""

from __future__ import annotations

import base64
import random

import pytest
from tests.protocol.mutation import altered

from bento.errors import RemoteProtocolError, UsageError
from bento.protocol.capability import Capability
from bento.protocol.caveats import AtBox, Bytes, Holder, NotAfter, Only, Runs, Unknown, Uses
from bento.protocol.door import BoxDoor, Hello, Open, Shutdown
from bento.protocol.ticket import SessionTicket, ShutdownTicket, Ticket, parse_any
from bento.protocol.wire import encode

ROOT, NAME, KEY = b"r" * 32, b"n" * 16, b"k" * 32
EVERYTHING = (
    *(AtBox(KEY), Runs(KEY), Only(3), Uses(bytes(8), 3), Bytes(bytes(8), 4)),
    *(NotAfter(5), Holder(KEY), Unknown(b"\x03\x99xy")),
)
TOKEN = Capability.mint(ROOT, NAME, *EVERYTHING)
LINES = [
    Ticket(b"b" * 20, TOKEN, b"p" * 32, b"d" * 32),
    ShutdownTicket(b"b" * 20, TOKEN),
    SessionTicket(b"b" * 20, TOKEN, b"s" * 16, b"o" * 16),
]
REQUESTS = [
    encode(Hello((1,))) + encode(request)
    for request in (
        Open(TOKEN.encode(), b"s" * 16, b""),
        Open(TOKEN.encode(), b"s" * 16, b"p" * 64),
        Shutdown(TOKEN.encode(), b"p" * 64),
    )
]


def read(pieces: list[bytes]) -> tuple[list[object], str]:
    door, messages = BoxDoor(), []
    try:
        for piece in pieces:
            messages += door.receive(piece)
    except RemoteProtocolError as error:
        return messages, str(error)
    return messages, ""


def the_door_takes_it_whole_as_bytewise(data: bytes) -> None:
    messages, error = read([data])
    split, split_error = read([data[at : at + 1] for at in range(len(data))])
    assert error == split_error
    assert split[: len(messages)] == messages
    assert len(split) == len(messages) or error
    for message in split:
        if isinstance(message, Open | Shutdown):
            the_token_is_its_makers_or_nobodys(message.token)


def the_token_is_its_makers_or_nobodys(data: bytes) -> None:
    try:
        token = Capability.parse(data)
    except RemoteProtocolError:
        return
    assert token.encode() == data
    assert (token.counters(ROOT) is not None) == (data == TOKEN.encode())


def the_line_is_unaltered_or_refused(text: str, line: str) -> None:
    try:
        assert parse_any(text) == parse_any(line)
    except UsageError as error:
        assert error.hint


def checked(line: SessionTicket | ShutdownTicket | Ticket, body: bytes) -> str:
    """A line of that sort whose check vouches for `body`: only what is in it can be wrong."""
    text = base64.b32encode(body + line._check(body)).decode()
    return line.PREFIX + text.lower().rstrip("=")


def a_line_says_what_is_in_it_or_is_refused(text: str) -> None:
    try:
        assert parse_any(text).encode() == text
    except UsageError as error:
        assert error.hint


def fuzz(count: int, seed: int) -> int:
    """How many inputs were tried."""
    rng = random.Random(seed)
    for _ in range(count):
        the_door_takes_it_whole_as_bytewise(altered(rng.choice(REQUESTS), rng))
        the_token_is_its_makers_or_nobodys(altered(TOKEN.encode(), rng))
        line = rng.choice(LINES)
        text = altered(line.encode().encode(), rng).decode("latin-1")
        the_line_is_unaltered_or_refused(text, line.encode())
        body = altered(line._body(line.encode()[len(line.PREFIX) :].upper()), rng)
        a_line_says_what_is_in_it_or_is_refused(checked(line, body))
    return 4 * count


def test_r5_altered_tokens_requests_and_tickets():
    fuzz(2_500, seed=1)


@pytest.mark.campaign
def test_r5_altered_tokens_requests_and_tickets_by_the_million():
    assert fuzz(1_300_000, seed=2) > 5_000_000
