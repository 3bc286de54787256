"""P3: from a built circuit to the first byte of an answer: 2 round trips for a new function, 1 for one
that exists, the opening of the stream included; and what attestation adds (7.4). Counted between the
user's tor and its guard."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import pytest_asyncio
from tests.e2e.lockstep import Lockstep

from bento import face
from bento.client.network import Network, TorEndpoints
from bento.tor.process import TorProcess

pytestmark = [pytest.mark.network, pytest.mark.asyncio(loop_scope="module")]

HELLO = b"def main(api):\n    api.send(b'hello')\n"
_OWN = (
    "DataDirectory",
    "ControlSocket",
    "CookieAuthentication",
    "SocksPort",
    "Log",
    "DisableNetwork",
)


def options_of_the_user_tor(network):
    torrc = network.home / "testnet" / "user" / "tor" / "torrc"
    lines = [line.rstrip() for line in torrc.read_text().splitlines()]
    return [line for line in lines if line and not line.startswith((*_OWN, "__"))]


@contextlib.asynccontextmanager
async def user_behind(lockstep, network, folder):
    async with lockstep.running() as proxy:
        options = [
            *options_of_the_user_tor(network),
            f"Socks5Proxy {proxy}",
            "SocksPort 127.0.0.1:auto",
            "ConnectionPadding 0",
        ]
        async with TorProcess(options, folder, "a user behind a tap") as tor:
            await tor.bootstrapped()
            async with await tor.controller() as controller:
                listener = (await controller.get_info("net/listeners/socks"))["net/listeners/socks"]
            endpoints = TorEndpoints(tor.control_address, listener.strip('"'))
            async with await Network.open(endpoints, cache=folder / "boxes.json") as opened:
                yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def tapped(network, tmp_path_factory):
    """(the tap, the user behind it)."""
    lockstep, folder = Lockstep(), tmp_path_factory.mktemp("user")
    async with user_behind(lockstep, network, folder) as user:
        yield lockstep, user


async def first_byte(session):
    async for _ in session:
        return


async def flights(lockstep, begin):
    """(round trips to the first byte of an answer, what `begin` gave); its session comes last."""
    lockstep.arm()
    *rest, session = await begin
    await first_byte(session)
    counted = lockstep.flights
    lockstep.disarm()
    await session.read()
    return counted, *rest


async def new_and_old(lockstep, user, **trust):
    """Round trips for a function that is new to the box, and for one that is there."""
    async with await user.box("box0") as box:
        await asyncio.sleep(
            1
        )  # cells of the bootstrap and the circuit pass before the count begins
        new, instance = await flights(lockstep, box.run(HELLO, **trust))

        async def invoke():
            return (await instance.invoke(),)

        (old,) = await flights(lockstep, invoke())
        await instance.shutdown()
    return new, old


async def test_p3_two_round_trips_for_a_new_function_and_one_for_an_old_one(tapped):
    assert await new_and_old(*tapped) == (2, 1)


async def test_attestation_costs_one_round_trip_more_and_two_where_the_function_exists(tapped):
    assert await new_and_old(*tapped, trust=face.trust(allow_emulated=True)) == (3, 3)
