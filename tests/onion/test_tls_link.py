"""TLS for cells: bytes arrive whole whatever the records were, and every end is told once."""

from __future__ import annotations

import asyncio
import datetime
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.waiting import until

from bento.onion import tls
from bento.onion.tls_link import TlsLink


class User:
    """Remembers what its link tells it."""

    def __init__(self) -> None:
        self.is_secured = False
        self.pieces: list[bytes] = []
        self.ends = 0
        self.paused: list[bool] = []

    def secured(self) -> None:
        self.is_secured = True

    def received(self, data: bytes) -> None:
        self.pieces.append(data)

    def lost(self) -> None:
        self.ends += 1

    def pause_writing(self) -> None:
        self.paused.append(True)

    def resume_writing(self) -> None:
        self.paused.append(False)

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


@pytest.fixture(scope="module")
def relays_context(tmp_path_factory) -> ssl.SSLContext:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime(2026, 1, 1)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "www.example.net")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now.replace(year=2036))
    path = tmp_path_factory.mktemp("relay") / "both.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def linked(context: ssl.SSLContext, serve) -> tuple[User, TlsLink, asyncio.Server]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    user = User()
    link = TlsLink(user, tls.client_context(), tls.random_server_name())
    port = server.sockets[0].getsockname()[1]
    await asyncio.get_running_loop().create_connection(lambda: link, "127.0.0.1", port)
    return user, link, server


async def test_both_ways_megabytes_arrive_whole_and_in_order(relays_context):
    data = bytes(range(256)) * 12_000

    async def mirror(reader, writer):
        writer.write(await reader.readexactly(len(data)))
        await writer.drain()
        writer.close()

    user, link, server = await linked(relays_context, mirror)
    await until(lambda: user.is_secured)
    assert link.certificate and str(link.peer) == "127.0.0.1"
    for at in range(0, len(data), 100_000):
        link.write(data[at : at + 100_000])
    await until(lambda: user.ends == 1)
    assert user.data == data
    assert user.paused.count(True) == user.paused.count(False)
    link.write(b"nobody hears this")
    server.close()


async def test_small_records_that_came_together_are_one_piece(relays_context):
    async def drip(reader, writer):
        for _ in range(300):
            writer.write(b"cell" * 128)
        await writer.drain()
        await reader.read()
        writer.close()

    user, link, server = await linked(relays_context, drip)
    await until(lambda: user.is_secured)
    link.pause_reading()
    await asyncio.sleep(0.2)
    link.resume_reading()
    await until(lambda: len(user.data) == 300 * 512)
    assert len(user.pieces) < 30
    link.close()
    await until(lambda: user.ends == 1)
    server.close()


async def test_while_reading_is_paused_what_came_can_be_read_at_once_and_an_end_is_left_to_asyncio(
    relays_context,
):
    begin, end = asyncio.Event(), asyncio.Event()

    async def talk(reader, writer):
        await begin.wait()
        writer.write(b"cell" * 1000)
        await end.wait()
        writer.close()

    user, link, server = await linked(relays_context, talk)
    await until(lambda: user.is_secured)
    link.pause_reading()
    begin.set()
    read: list[bool] = []
    await until(lambda: read.append(link.read_paused()) or len(user.data) == 4000)
    assert read[-1] and not link.read_paused()
    end.set()
    link.resume_reading()
    await until(lambda: user.ends == 1)
    assert user.data == b"cell" * 1000 and not link.read_paused()
    server.close()


async def test_a_relay_that_takes_nothing_is_given_up_before_memory_is(relays_context, monkeypatch):
    monkeypatch.setattr("bento.onion.tls_link.MAX_UNSENT_BYTES", 1 << 20)
    over = asyncio.Event()

    async def deaf(reader, writer):
        writer.transport.pause_reading()
        await over.wait()
        writer.close()

    user, link, server = await linked(relays_context, deaf)
    await until(lambda: user.is_secured)
    written = 0
    while not link.is_closing:
        link.write(bytes(1 << 18))
        written += 1 << 18
        assert written < 64 << 20
    await until(lambda: user.ends == 1)
    over.set()
    server.close()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"\x16\x03\x01\xff\xff" * 99])
async def test_what_is_no_tls_ends_the_link_and_nothing_of_it_is_delivered(answer):
    async def no_tls(reader, writer):
        await reader.read(10)
        writer.write(answer)
        writer.close()

    user, _, server = await linked(None, no_tls)
    await until(lambda: user.ends == 1)
    assert not user.is_secured and user.pieces == []
    server.close()


async def test_bytes_altered_on_the_way_end_the_link(relays_context):
    async def greet(reader, writer):
        writer.write(b"hello")
        await reader.read()
        writer.close()

    user, link, server = await linked(relays_context, greet)
    await until(lambda: user.data == b"hello")
    spoiled = b"\x17\x03\x03\x00\x20" + bytes(32)
    link.get_buffer(0)[: len(spoiled)] = spoiled
    link.buffer_updated(len(spoiled))
    await until(lambda: user.ends == 1)
    assert user.data == b"hello"
    server.close()
