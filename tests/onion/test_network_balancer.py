"""The LoadBalancer's two halves over real relays: curl through an unmodified C-tor, replicas as processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from tests.onion.balancing import Processes, network_of
from tests.onion.network import SOCKS_PORT, PrivateNetwork
from tests.onion.serving import blob
from tests.waiting import until

from bento.functions.balancer.fleet import Options
from bento.functions.balancer.front import Content, Front
from bento.functions.balancer.site import FILES, ORIGIN
from bento.onion.blinding import OnionIdentity
from bento.onion.wire import vector

pytestmark = pytest.mark.network
FILE = blob(200_000)
FOLDER = vector(b"file", 2) + vector(FILE, 4) + vector(b"index.html", 2) + vector(b"hello\n", 4)


class Service:
    """A front over processes, and what curl gets from it."""

    def __init__(self, network: PrivateNetwork, front: Front, processes: Processes) -> None:
        self.front, self.processes = front, processes
        self._proxy = f"{network['c0'].address}:{SOCKS_PORT}"

    async def fetch(self, user: str, path: str = "file") -> bytes | None:
        """A new visitor: one circuit for each `user`. None when curl did not get all of it."""
        curl = await asyncio.create_subprocess_exec(
            *("curl", "-s", "--proxy", f"socks5h://{user}:x@{self._proxy}"),
            f"http://{self.front.address}.onion/{path}",
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await curl.communicate()
        return output if curl.returncode == 0 else None

    @property
    def states(self) -> list[str]:
        return [replica["state"] for replica in self.front.describe()["replicas"]]


@contextlib.asynccontextmanager
async def running(
    network: PrivateNetwork, options: Options, content: Content
) -> AsyncIterator[Service]:
    processes = Processes(network["c1"].control_socket)
    async with network_of(network["c1"].control_socket) as net:
        front = Front(OnionIdentity.generate(), net, processes, content, options)
        await front.start()
        try:
            async with asyncio.timeout(120):
                await front.service.published()
            yield Service(network, front, processes)
        finally:
            await front.close()
            await processes.close()


@pytest.fixture
async def service(network: PrivateNetwork, request) -> AsyncIterator[Service]:
    async with running(network, request.param, Content(FILES, FOLDER)) as made:
        yield made


async def test_an_origin_is_reached_through_the_replica(network):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(FILE) + FILE)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        origin = Content(ORIGIN, f"127.0.0.1:{port}".encode())
        async with running(network, Options(least=1, most=1), origin) as service:
            assert await service.fetch("origin") == FILE


@pytest.mark.parametrize("service", [Options(least=0, most=3, limit=2, calm=2.0)], indirect=True)
async def test_it_grows_while_visitors_wait_heals_and_shrinks_without_cutting_anybody(
    service,
) -> None:
    assert service.states == []
    assert await service.fetch("first") == FILE  # it waited for the first replica
    got = await asyncio.gather(*(service.fetch(f"a{n}") for n in range(12)))
    assert got == [FILE] * 12
    assert service.front.counters.started >= 2
    victim = service.front.describe()["replicas"][0]["number"]
    await service.processes.kill(victim)
    got = await asyncio.gather(*(service.fetch(f"b{n}") for n in range(12)))
    assert got == [FILE] * 12
    await until(lambda: service.states == [])
    assert await service.fetch("late", "") == b"hello\n"
    counts = service.front.counters
    assert counts.lost == 1
    assert counts.joined >= 26  # a tor that lost its patience may come twice
    assert counts.given_up == 0


@dataclass
class Storm:
    """Visitors in waves, and replicas killed under them."""

    service: Service
    wanted: int
    right: int = 0
    broken: list[tuple[float, float]] = field(default_factory=list)  # from, to
    kills: list[tuple[float, int]] = field(default_factory=list)  # when, visitors it had
    states: set[str] = field(default_factory=set)

    async def run(self) -> None:
        names = itertools.count()
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(self._kill())
            async with asyncio.TaskGroup() as visitors:
                for number in range(8):
                    visitors.create_task(self._visit(number, names))
            killing.cancel()

    async def _visit(self, number: int, names: itertools.count[int]) -> None:
        """One visitor after another; most of them stay away in calm times."""
        while self.right < self.wanted:
            if number and _is_calm():
                await asyncio.sleep(0.5)
                continue
            began = time.monotonic()
            got = await self.service.fetch(f"storm{next(names)}")
            assert got in (None, FILE)
            if got is None:
                self.broken.append((began, time.monotonic()))
            else:
                self.right += 1

    async def _kill(self) -> None:
        while True:
            for _ in range(20):
                await asyncio.sleep(0.5)
                self.states |= set(self.service.states)
            ready = [r for r in self.service.front.describe()["replicas"] if r["state"] == "ready"]
            if len(ready) > 1 and not _is_calm():
                victim = random.choice(ready)
                self.kills.append((time.monotonic(), victim["clients"]))
                await self.service.processes.kill(victim["number"])


def _is_calm() -> bool:
    """A third of each minute."""
    return time.monotonic() % 60 > 40


@pytest.mark.campaign
@pytest.mark.parametrize("service", [Options(least=1, most=4, limit=2, calm=2.0)], indirect=True)
async def test_balancer_a_thousand_fetches_while_replicas_come_drain_and_are_killed(service):
    """Only streams on a killed replica may break: each break has a kill in its time, and there are no
    more of them than visitors that the killed ones had. Everybody else gets every byte.

    One visitor stays in calm times, so that replicas drain although somebody always comes."""
    storm = Storm(service, 1000)
    await storm.run()
    counts = service.front.counters
    print(storm.right, "right,", len(storm.broken), "broken,", len(storm.kills), "kills;", counts)
    for began, ended in storm.broken:
        assert any(began <= killed <= ended for killed, _ in storm.kills)
    assert len(storm.broken) <= sum(had for _, had in storm.kills)
    assert counts.lost == len(storm.kills) > 3
    assert counts.given_up == 0
    assert counts.spared > 3
    assert storm.states >= {"starting", "ready", "draining"}


@pytest.mark.campaign
@pytest.mark.parametrize("service", [Options(least=20, most=20, limit=2)], indirect=True)
async def test_balancer_twenty_replicas_serve_one_address(service):
    await until(lambda: service.states.count("ready") == 20)
    got = await asyncio.gather(*(service.fetch(f"v{n}") for n in range(40)))
    assert got == [FILE] * 40
    assert all(replica["served"] for replica in service.front.describe()["replicas"])
