"""What a user sees when the network, the box or tor has a bad day: an error that names it, nothing lost."""

import asyncio
import contextlib
import os
import signal

import pytest
from tests.e2e.test_p3_round_trips import options_of_the_user_tor
from tests.local_box import local_box

from bento.client.box import Box, BoxName
from bento.client.network import Network, TorEndpoints
from bento.client.route import CircuitRoute, UnixRoute
from bento.errors import BentoError, BoxError, TorError
from bento.tor.process import TorProcess

pytestmark = pytest.mark.network

PIECES = 60
LONG = b"def main(api):\n for i in range(60): api.send(bytes([i]) * 60000)"
WHOLE = b"".join(bytes([i]) * 60000 for i in range(PIECES))


@pytest.fixture
async def user(network, tmp_path):
    endpoints = TorEndpoints(*network.user_tor())
    async with await Network.open(endpoints, cache=tmp_path / "boxes.json") as opened:
        yield opened


async def test_a_cut_circuit_costs_nothing(user):
    async with await user.box("box1") as box:
        instance, session = await box.run(LONG)
        first, got = box._route._circuit, b""
        async for piece in session:
            got += piece
            if len(got) > 500_000 and not first.closed.done():
                await first.close()
        await instance.shutdown()
    assert got == WHOLE
    assert first.closed.done()


async def test_a_killed_bentod_costs_nothing(network, user):
    """Its supervisor starts it again, as a service manager would; the instance was never gone."""
    async with await user.box("box2") as box:
        instance, session = await box.run(LONG)
        killed, got = False, b""
        async for piece in session:
            got += piece
            if len(got) > 500_000 and not killed:
                [pid] = [each.bentod_pid for each in (await network.status()).boxes[2:]]
                os.kill(pid, signal.SIGKILL)
                killed = True
        await instance.shutdown()
    assert got == WHOLE
    while not (await network.status()).ready:
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def own_tor(network, folder):
    options = [*options_of_the_user_tor(network), f"SocksPort unix:{folder / 'socks'}"]
    async with TorProcess(options, folder / "tor", "the user's tor") as tor:
        await tor.bootstrapped()
        yield tor


async def test_a_restarted_tor_costs_nothing(network, tmp_path):
    async with own_tor(network, tmp_path) as tor:
        endpoints = TorEndpoints(tor.control_address, f"unix:{tmp_path / 'socks'}")
        async with await Network.open(endpoints, cache=tmp_path / "boxes.json") as user:
            box = await user.box("box0")
            instance, session = await box.run(LONG)
            pieces = aiter(session)
            got = await anext(pieces)
            os.kill(tor.pid, signal.SIGKILL)
            await tor.stop()
            async with own_tor(network, tmp_path):
                async for piece in pieces:
                    got += piece
                await instance.shutdown()
    assert got == WHOLE


async def test_a_tor_that_dies_is_named(network, tmp_path):
    async with own_tor(network, tmp_path) as tor:
        endpoints = TorEndpoints(tor.control_address, f"unix:{tmp_path / 'socks'}")
        async with await Network.open(endpoints, cache=tmp_path / "boxes.json") as user:
            box = await user.box("box0")
            box.persistence = 0.5
            instance, session = await box.run(b"def main(api): api.recv()")
            await session.started()
            os.kill(tor.pid, signal.SIGKILL)
            with pytest.raises((TorError, BoxError)) as caught:
                await session.read()
            assert "attach" in caught.value.hint
            with pytest.raises(TorError):
                await user.box("box0")
    async with await Network.open(TorEndpoints(*network.user_tor()), cache=tmp_path / "b") as user:
        instance.box = await user.box("box0")
        await instance.shutdown()


async def test_a_box_that_is_gone_is_told_from_a_broken_tor(user):
    async with await user.box("box2") as box:
        circuit = box._route._circuit
        nobody = Box(box.name, CircuitRoute(circuit, "127.80.9.9", 9))
        with pytest.raises(BentoError) as caught:
            await nobody.inquire()
    assert caught.value.kind in ("tor", "box")
    assert caught.value.hint


async def test_a_box_with_another_key_than_announced_gets_nothing():
    async with local_box() as local:
        route = UnixRoute(str(local.path))
        impostor = Box(BoxName("local", "AB" * 20, "A" * 42 + "E"), route)
        with pytest.raises(BoxError, match="another key"):
            await impostor.install(b"SECRET = 1\ndef main(api): pass")


async def test_a_ticket_of_another_box_is_not_sent_to_this_one():
    async with local_box() as local:
        instance = await local.box.install(b"def main(api): pass")
        other = Box(BoxName("other", "CD" * 20, local.identity.key_hash), UnixRoute("/nowhere"))
        with pytest.raises(BoxError, match="another box"):
            other.instance(instance.ticket)
