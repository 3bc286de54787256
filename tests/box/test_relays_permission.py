"""The permission `relays`: a function connects to the ORPorts of the consensus, and to nothing else by it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.local_box import local_box
from tests.tor.fake_tor import FakeTor
from tests.waiting import until

from bento.box.beside import Beside
from bento.box.config import Egress
from bento.egress import OrPorts
from bento.errors import PolicyError
from bento.tor.onion_service import OnionKey

RELAYS = "127.91.0.0/16"
ASK = """
import socket
def main(api, *places):
    for place in places:
        host, port = place.rsplit(":", 1)
        try:
            with socket.create_connection((host, int(port)), 20) as relay:
                api.send("reached " + relay.recv(99).decode() + "\\n")
        except OSError as error: api.send(f"{type(error).__name__}: {error}\\n")
"""
HOLD = """
import socket
def main(api, host, port):
    with socket.create_connection((host, int(port)), 20) as relay:
        api.send(relay.recv(5))
        try: api.send(b"ended" if relay.recv(1) == b"" else b"more")
        except OSError: api.send(b"reset")
"""


def function(code: str, *manifest: str) -> bytes:
    return "\n".join(["# /// bento", *(f"# {m}" for m in manifest), "# ///", code]).encode()


@contextlib.asynccontextmanager
async def relay(address: str, *, ends: bool = True):
    """Something at `address` that greets; its port."""

    async def greet(reader, writer):
        writer.write(b"relay")
        if ends:
            writer.close()
        else:
            await reader.read()
            writer.close()

    server = await asyncio.start_server(greet, address, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def ask(local, source: bytes, *places: str) -> list[str]:
    instance, session = await local.box.run(source, *places)
    await session.close_input()
    try:
        return (await session.read()).decode().splitlines()
    finally:
        await instance.shutdown()


@pytest.mark.parametrize("via", ["none", "direct"])
async def test_orports_are_reached_where_the_exit_policy_refuses_and_nothing_else_is(via):
    egress = Egress(via=via, relays=True, test_web="127.80.0.0/16", test_relays=RELAYS)
    async with (
        local_box(egress=egress) as local,
        relay("127.91.0.1") as port,
        relay("127.91.0.1") as beside,
        relay("127.92.0.1") as outside,
    ):
        local.guard.listed(OrPorts.parse(f"a 127.91.0.1:{port}\na 127.92.0.1:{outside}\n"))
        places = (f"127.91.0.1:{port}", f"127.91.0.1:{beside}", f"127.92.0.1:{outside}")
        said = await ask(local, function(ASK, "relays = true"), *places, "192.0.2.1:443")
    assert said[0] == "reached relay"
    assert all(line.startswith("PermissionError") for line in said[1:])
    assert "ORPort" in said[1] or "ORPorts" in said[1]


async def test_without_the_permission_an_orport_is_refused_and_the_line_is_named():
    egress = Egress(via="direct", relays=True, test_web="127.80.0.0/16", test_relays=RELAYS)
    async with local_box(egress=egress) as local, relay("127.91.0.1") as port:
        local.guard.listed(OrPorts.parse(f"a 127.91.0.1:{port}\n"))
        source = function(ASK, 'egress = ["*:*"]')
        (said,) = await ask(local, source, f"127.91.0.1:{port}")
        assert said.startswith("PermissionError") and "relays = true would allow it" in said
        counters = await _counted(local, function(ASK, "relays = true"), f"127.91.0.1:{port}")
        assert (counters.connections, counters.bytes_in) == (1, 5)


async def _counted(local, source, place):
    instance, session = await local.box.run(source, place)
    await session.close_input()
    await session.read()
    (mine,) = local.instances
    await until(lambda: mine.ways.counters.open == 0)
    await instance.shutdown()
    return mine.ways.counters


async def test_a_relay_that_left_the_consensus_is_left_and_reached_no_more():
    egress = Egress(relays=True, test_relays=RELAYS)
    async with local_box(egress=egress) as local, relay("127.91.0.1", ends=False) as port:
        local.guard.listed(OrPorts.parse(f"a 127.91.0.1:{port}\n"))
        holding = await local.box.install(function(HOLD, "relays = true"))
        session = await holding.invoke("127.91.0.1", str(port))
        pieces = aiter(session)
        assert await anext(pieces) == b"relay"
        local.guard.listed(OrPorts())
        assert b"".join([piece async for piece in pieces]) == b"reset"
        (said,) = await ask(local, function(ASK, "relays = true"), f"127.91.0.1:{port}")
        assert said.startswith("PermissionError")
        await holding.shutdown()


async def test_a_box_offers_it_only_where_its_operator_says_so():
    async with local_box() as local:
        assert not (await local.box.inquire()).policy.relays
        with pytest.raises(PolicyError, match="does not let functions connect to relays"):
            await local.box.install(function(ASK, "relays = true"))


INFORMATION = {
    "exit-policy/full": "250-exit-policy/full=reject *:*\r\n250 OK",
    "ns/all": "250+ns/all=\r\nr a AAAA 2038-01-01 00:00:00 1.2.3.4 9001 0\r\n.\r\n250 OK",
}
NEWS = """650+NEWCONSENSUS\r
r a AAAA 2038-01-01 00:00:00 5.6.7.8 443 0\r
a [2a01::1]:443\r
.\r
650 OK"""


async def test_the_list_is_tors_own_and_follows_each_new_consensus(tmp_path):
    lists: list[OrPorts] = []
    async with FakeTor(tmp_path / "control") as tor:
        tor.answers["GETINFO"] = lambda line: INFORMATION.get(line.split()[1], "552 unknown")
        key = OnionKey.generate()
        beside = Beside(tor.address, None, key, tmp_path, lambda facts: None, lists.append)
        await beside.start()
        try:
            assert [len(each) for each in lists] == [1]
            tor.say(NEWS)
            await until(lambda: len(lists) == 2)
            assert len(lists[-1]) == 2
        finally:
            await beside.close()
