"""The SOCKS5 client: what it sends and when, and what it believes."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import TorError, UsageError
from bento.tor.socks import encode_request, open_stream, read_reply

YES = b"\x05\x00\x00\x01\0\0\0\0\0\0"


class Proxy:
    """Answers each read with the next of its `answers`."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix:{path}"
        self.answers: list[bytes] = []
        self.reads: list[bytes] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in self.answers:
            self.reads.append(await reader.read(65536))
            writer.write(answer)
        self.reads.append(await reader.read(65536))
        writer.close()
        self.ended.set()


@pytest.fixture
async def proxy(short_folder: Path) -> AsyncIterator[Proxy]:
    proxy = Proxy(short_folder / "socks")
    server = await asyncio.start_unix_server(proxy.serve, short_folder / "socks")
    yield proxy
    server.close()


async def test_request_and_early_bytes_leave_together_before_any_reply(proxy):
    proxy.answers = [b"\x05\x02", b"\x01\x00" + YES + b"answer"]
    reader, writer = await open_stream(
        proxy.address, "192.0.2.77", 5000, username="user", password="pw", early=b"hello"
    )
    assert await reader.read(100) == b"answer"
    assert proxy.reads == [
        b"\x05\x01\x02",
        b"\x01\x04user\x02pw" + b"\x05\x01\x00\x01\xc0\x00\x02\x4d\x13\x88" + b"hello",
    ]
    writer.close()


async def test_without_a_user_none_is_sent(proxy):
    proxy.answers = [b"\x05\x00", YES]
    _, writer = await open_stream(proxy.address, "example.onion", 80)
    assert proxy.reads == [b"\x05\x01\x00", b"\x05\x01\x00\x03\x0dexample.onion\x00\x50"]
    writer.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [(2, "policy"), (4, "cannot be found"), (5, "refused"), (0xF0, "onion"), (99, "code 99")],
)
async def test_a_refusal_says_why_and_leaves_nothing_open(proxy, code, words):
    proxy.answers = [b"\x05\x00", bytes((5, code, 0, 1)) + bytes(6)]
    with pytest.raises(TorError, match=words):
        await open_stream(proxy.address, "a.test", 80)
    await proxy.ended.wait()


@pytest.mark.parametrize(
    "answers",
    [
        [b"\x04\x02"],
        [b"\x05\x00"],
        [b"\x05\xff"],
        [b"HTTP/1.1 400 Bad Request"],
        [b"\x05\x02", b"\x01\x01"],
        [b"\x05\x02", b"\x01\x00" + b"\x04\x00\x00\x01" + bytes(6)],
        [b"\x05\x02", b"\x01\x00" + b"\x05\x00\x01\x01" + bytes(6)],
        [b"\x05\x02", b"\x01\x00" + b"\x05\x00\x00\x02" + bytes(6)],
    ],
)
async def test_what_does_not_speak_socks_is_refused(proxy, answers):
    proxy.answers = answers
    with pytest.raises(TorError):
        await open_stream(proxy.address, "a.test", 80, username="user")


async def test_a_proxy_that_closes_early_is_an_error(short_folder):
    async def close(_, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_unix_server(close, short_folder / "socks")
    with pytest.raises(TorError):
        await open_stream(f"unix:{short_folder / 'socks'}", "a.test", 80)
    server.close()


async def test_a_cancelled_request_leaves_nothing_open(proxy):
    proxy.answers = [b"\x05\x00"]
    opening = asyncio.ensure_future(open_stream(proxy.address, "a.test", 80))
    while len(proxy.reads) < 2:
        await asyncio.sleep(0.005)
    opening.cancel()
    await proxy.ended.wait()


@pytest.mark.parametrize("address", ["unix:/nowhere/socks", "127.0.0.1:1"])
async def test_no_proxy_is_an_error_that_names_it(address):
    with pytest.raises(TorError, match=address):
        await open_stream(address, "a.test", 80)


@given(
    st.integers(1, 65535),
    st.ip_addresses() | st.from_regex(r"[a-z0-9.-]{1,100}", fullmatch=True),
    st.text("abc", max_size=255),
)
def test_a_request_holds_what_was_asked(port, host, username):
    request = encode_request(str(host), port, username)
    if username:
        assert request.startswith(b"\x01" + bytes((len(username),)) + username.encode() + b"\x01-")
        request = request[len(username) + 4 :]
    assert request.startswith(b"\x05\x01\x00")
    assert request.endswith(port.to_bytes(2, "big"))
    body = request[4:-2]
    try:
        address = ipaddress.ip_address(str(host))
    except ValueError:
        assert (request[3], body) == (3, bytes((len(host),)) + host.encode())
    else:
        assert (request[3], body) == ({4: 1, 6: 4}[address.version], address.packed)


@pytest.mark.parametrize(
    ("host", "port", "username"),
    [("", 80, ""), ("x" * 256, 80, ""), ("é.test", 80, ""), ("a\0b", 80, ""), ("a", 0, "")]
    + [("a", 65536, ""), ("a", 80, "u" * 256), ("a", 80, "é")],
)
def test_what_socks_cannot_hold_is_refused(host, port, username):
    with pytest.raises(UsageError):
        encode_request(host, port, username)


@given(st.binary(max_size=300), st.booleans())
async def test_any_reply_is_read_exactly_or_refused(data, with_password):
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    try:
        await read_reply(reader, with_password=with_password)
    except TorError:
        return
    rest = await reader.read()
    reply = data[2:] if with_password else data
    length = {1: 4, 3: reply[4] + 1, 4: 16}[reply[3]]
    assert rest == reply[4 + length + 2 :]
