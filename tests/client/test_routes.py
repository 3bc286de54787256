"""One function, one route: in the small with routes of paper, and on the network with tor's own list."""

import asyncio

import pytest

from bento.client.network import Network, TorEndpoints
from bento.client.routes import Routes


class Paper:
    def __init__(self):
        self.closed = 0

    async def close(self):
        self.closed += 1


class Stack:
    def __init__(self):
        self.made = []

    async def another(self):
        self.made.append(Paper())
        await asyncio.sleep(0)
        return self.made[-1]


async def test_every_function_has_a_route_of_its_own_and_keeps_it():
    stack, first = Stack(), Paper()
    routes = Routes(first, stack.another)
    installed = await routes.new()
    routes.belongs(installed, b"call", b"end")
    assert installed is first
    others = await asyncio.gather(routes.new(), routes.of(b"x"), routes.of(b"y"), routes.of(b"x"))
    assert others[1] is others[3]
    assert len({id(route) for route in (first, *others)}) == 4
    assert await routes.of(b"call") is await routes.of(b"end") is first


async def test_without_another_all_share_the_one():
    first = Paper()
    routes = Routes(first, None)
    assert {await routes.new(), await routes.of(b"x"), await routes.new()} == {first}


async def test_every_route_is_closed_once():
    stack, first = Stack(), Paper()
    routes = Routes(first, stack.another)
    for token in (b"1", b"2", b"3"):
        await routes.of(token)
    await routes.close()
    await routes.close()
    assert [route.closed for route in (first, *stack.made)] == [1, 1, 1]


@pytest.fixture
async def user(network, tmp_path):
    endpoints = TorEndpoints(*network.user_tor())
    async with await Network.open(endpoints, cache=tmp_path / "boxes.json") as opened:
        yield opened


WAITS = (b"def main(api): api.recv()", b"def main(api):\n    api.recv() and 2")


async def circuits_of_streams(user, before=frozenset()):
    """The circuits that carry open streams, as tor itself says, but those of streams in `before`."""
    lines = (await user._controller.get_info("stream-status"))["stream-status"].splitlines()
    fields = [line.split() for line in lines]
    return {f[0]: f[2] for f in fields if f[1] == "SUCCEEDED" and f[0] not in before}


async def alive(user):
    text = (await user._controller.get_info("circuit-status"))["circuit-status"]
    return {line.split()[0] for line in text.splitlines() if line}


@pytest.mark.network
@pytest.mark.parametrize("entrance", ["circuit", "onion"])
async def test_r17_two_functions_come_to_a_box_on_two_circuits_unless_asked(user, entrance):
    for shared, expected in ((False, 2), (True, 1)):
        async with await user.box("box1", entrance=entrance, shared=shared) as box:
            before = frozenset(await circuits_of_streams(user))
            running = [await box.run(source) for source in WAITS]
            again = await running[0][0].invoke()
            for session in (running[0][1], running[1][1], again):
                await session.started()
            carrying = await circuits_of_streams(user, before)
            assert len(carrying) == 3
            assert len(set(carrying.values())) == expected
            for instance, session in running:
                await session.detach()
                await instance.shutdown()
            await again.detach()
        if entrance == "circuit":
            assert not set(carrying.values()) & await alive(user)
