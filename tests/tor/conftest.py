"""What this room's tests share: real tors, offline and in the private network, and a false one."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.tor.fake_client import FakeClient
from tests.tor.fake_tor import FakeTor

from bento.testnet import Testnet
from bento.tor.controller import Controller
from bento.tor.process import TorProcess

WEB_HOST = "127.80.91.1"
"""An address of the private network's web, used by this room alone."""

Join = Callable[..., Awaitable[TorProcess]]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class TorNetwork:
    """The private network as this room's tests see it.

    `control` and `socks` are those of a tor of our own; `boxes` are fingerprints of relays that
    announce a box and connect to the web."""

    control: str
    socks: str
    boxes: tuple[str, ...]


@pytest.fixture
def tor_network(network: Testnet) -> TorNetwork:
    status = asyncio.run(network.status())
    tor = network.user_tor()
    return TorNetwork(tor.control, tor.socks, tuple(box.fingerprint for box in status.boxes))


@pytest.fixture
async def client(tor_network: TorNetwork) -> AsyncIterator[Controller]:
    """A control connection to the network's tor of our own."""
    async with await Controller.connect(tor_network.control) as controller:
        await controller.authenticate()
        yield controller


@pytest.fixture
async def join(client: Controller, short_folder: Path) -> AsyncIterator[Join]:
    """`tor = await join(options...)` starts another client of the network, which a test may kill.
    Its SOCKS port is the socket `socks` in its data directory."""
    (authority,) = await client.get_conf("DirAuthority")
    folder = short_folder / "tor"
    base = [
        ("TestingTorNetwork", "1"),
        ("DirAuthority", authority),
        ("PathsNeededToBuildCircuits", "0.67"),
        ("SocksPort", f"unix:{folder / 'socks'}"),
    ]
    async with contextlib.AsyncExitStack() as stack:

        async def start(*options: tuple[str, str]) -> TorProcess:
            process = TorProcess([*base, *options], folder, "joined")
            await stack.enter_async_context(process)
            await process.bootstrapped()
            return process

        yield start


@pytest.fixture
async def joined_tor(join: Join) -> TorProcess:
    return await join()


@pytest.fixture
async def web() -> AsyncIterator[Callable[[Serve], Awaitable[int]]]:
    """`port = await web(serve)` starts a server on WEB_HOST."""
    servers: list[asyncio.Server] = []

    async def start(serve: Serve) -> int:
        server = await asyncio.start_server(serve, WEB_HOST, 0)
        servers.append(server)
        return server.sockets[0].getsockname()[1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for a socket's."""
    folder = Path(tempfile.mkdtemp(prefix="tor-room-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def offline_tor(short_folder: Path) -> AsyncIterator[TorProcess]:
    """A real tor that opens no connection: it only answers."""
    options = [("DisableNetwork", "1"), ("SocksPort", "0")]
    async with TorProcess(options, short_folder / "tor", "offline") as process:
        yield process


@pytest.fixture
async def fake_tor(short_folder: Path) -> AsyncIterator[FakeTor]:
    """A control port that says what the test wants."""
    async with FakeTor(short_folder / "control") as tor:
        yield tor


@pytest.fixture
async def fake_client(short_folder: Path) -> AsyncIterator[FakeClient]:
    """A client tor that does what the test wants."""
    async with FakeClient(short_folder) as tor:
        yield tor
