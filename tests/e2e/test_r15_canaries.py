"""R15: nothing that a box is told gets into a log, a process list or a file name.

The words planted here pass every way into a box and every kind of failure; they are looked for at the
end of this test, and again at the end of the whole run (`tests/canaries.py`), with every ticket of all tests."""

import asyncio
import contextlib
import socket
import tomllib

import pytest
from tests.e2e.web import web_site

from bento.client.network import Network, TorEndpoints
from bento.errors import BentoError
from bento.protocol.capability import Capability
from bento.protocol.caveats import AtBox
from bento.protocol.ticket import ShutdownTicket, Ticket
from bento.tor.onion_service import OnionKey

pytestmark = pytest.mark.network

VISITOR = "127.77.200.123"  # an address that nobody else has

SOURCE = """
# /// bento
# egress = ["127.80.0.0/16:*", "{rule}.internal:443"]
# ///
# {source}
import socket, urllib.request

def main(api, url, host, word):
    print(api.recv())
    for port in (80, 443):
        try:
            socket.create_connection((host, port), 5)
        except OSError as error:
            print(error)
    api.send(urllib.request.urlopen(url).read())
    open(api.data + "/{file}", "w").write("{content}")
    raise ValueError("{failure}")
"""


@pytest.fixture
async def user(network, tmp_path):
    endpoints = TorEndpoints(*network.user_tor())
    async with await Network.open(endpoints, cache=tmp_path / "boxes.json") as opened:
        yield opened


def source(plant):
    words = ("rule", "source", "file", "content", "failure")
    return SOURCE.lstrip().format_map({word: plant(f"the source's {word}") for word in words})


async def use(box, plant):
    """One function that is fed, goes to the web, and fails."""
    with web_site({f"/{plant('URL')}": plant("answer").encode()}) as (site, _):
        page = next(iter(site_pages(site, plant)))
        host = f"{plant('host name')}.internal"
        instance, session = await box.run(
            source(plant).encode(), page, host, word=plant("argument")
        )
        await session.send(plant("input").encode())
        await session.close_input()
        with pytest.raises(BentoError):
            await session.read()
        await instance.shutdown()


def site_pages(site, plant):
    yield f"{site}/{plant('URL that is not there')}?{plant('query')}"


async def misuse(box, plant):
    """Tokens that open nothing, a manifest that is refused, code that is not what was announced."""
    name = box.name
    for number in (1, 2):
        root, called = plant("root").encode(), plant("token").encode()[:16]
        token = Capability.mint(root, called, AtBox(name.key))
        with pytest.raises(BentoError):
            await box.instance(Ticket(name.box, token)).invoke(plant("argument"))
        with pytest.raises(BentoError):
            await box.shutdown(ShutdownTicket(name.box, token))
        greedy = f'# /// bento\n# cpu = 6{number}\n# egress = ["{plant("rule")}:1"]\n# ///\n'
        with pytest.raises(BentoError):
            await box.run(greedy.encode() + b"def main(api): pass")


def knock_and_run(box_folder, plant):
    """From an address of one's own, bytes that are no protocol."""
    config = tomllib.loads((box_folder / "bentod" / "bentod.toml").read_text())
    entrance = config["entrance"]["circuit"]
    for garbage in (plant("garbage").encode(), b"\0\0\0\1\xff", b"GET / HTTP/1.0\r\n\r\n"):
        with socket.create_connection(
            (entrance["address"], entrance["port"]), source_address=(VISITOR, 0)
        ) as sock:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                sock.recv(4096)


async def test_r15_no_planted_word_is_found_anywhere(network, user, canaries):
    canaries.add("client address", VISITOR.encode())
    for entrance in ("circuit", "onion"):
        async with await user.box("box0", entrance=entrance) as box:
            await use(box, canaries.plant)
            canaries.look()
            await misuse(box, canaries.plant)
    knock_and_run(network.home / "testnet" / "box0", canaries.plant)
    nowhere = OnionKey.generate().address
    canaries.add("onion name", nowhere.encode())
    with contextlib.suppress(BentoError, TimeoutError):
        async with asyncio.timeout(2):
            await user._circuits.open_stream(f"{nowhere}.onion", 80)
    assert canaries.found() == []
