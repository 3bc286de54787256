"""P3: from a built circuit to the first byte of an answer: 2 round trips for a new function, 1 for one
that exists, the opening of the stream included. Counted between the user's tor and its guard."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.e2e.lockstep import Lockstep

from bento.client.network import Network, TorEndpoints
from bento.tor.process import TorProcess

pytestmark = pytest.mark.network

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


async def first_byte(session):
    async for _ in session:
        return


async def test_p3_two_round_trips_for_a_new_function_and_one_for_an_old_one(network, tmp_path):
    lockstep = Lockstep()
    async with user_behind(lockstep, network, tmp_path) as user, await user.box("box0") as box:
        await asyncio.sleep(1)  # cells of the bootstrap pass before the count begins
        lockstep.arm()
        instance, session = await box.run(HELLO)
        await first_byte(session)
        new = lockstep.flights
        lockstep.disarm()
        await session.read()
        lockstep.arm()
        session = await instance.invoke()
        await first_byte(session)
        old = lockstep.flights
        lockstep.disarm()
        await session.read()
        await instance.shutdown()
    assert (new, old) == (2, 1)
