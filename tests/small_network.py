"""A small private Tor network: 1 authority, 3 relays, 1 exit, 1 client.

For tests that need a network in a network namespace of their own, an exit with a policy of its own, or a
client that nobody else uses; the others share the one of `bento.testnet`, whose way to a first consensus
is taken here too (see its `consensus`). It lives in a thread with an event loop of its own, so that
tests, each with its own loop, only see addresses and names.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bento.testnet import consensus, torrc
from bento.testnet.keys import authority_line
from bento.testnet.layout import DIR_PORT, OR_PORT, SOCKS_PORT, Node, Role
from bento.tor.process import TorProcess

# Runs at the same time on one machine must not meet: each has its own third octet.
_SUBNET = f"127.{{}}.{os.getpid() % 250 + 1}"
_HANG_GUARD = 240  # seconds; 6 are usual
_AUTHORITY, _EXIT = "authority", "exit"
_SERVERS = (_AUTHORITY, "relay0", "relay1", "relay2", _EXIT)
_NO_EXIT = (("ExitRelay", "0"), ("ExitPolicy", "reject *:*"))

Options = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class SmallNetwork:
    """What a test may know of a network."""

    client_control: str  # of a client whose tor we own
    client_socks: str
    exit_control: str
    fingerprints: dict[str, str]  # by nickname: authority, relay0..2, exit


class _Runner:
    """Starts and stops the tors; all of it in one event loop."""

    def __init__(self, folder: Path, net: int, exit_: Options, client: Options) -> None:
        self._folder = folder
        self._subnet = subnet(net)
        self._exit, self._client = exit_, client
        self._processes: dict[str, TorProcess] = {}

    async def start(self) -> SmallNetwork:
        empty = self._folder / "empty"
        empty.touch()
        self._resolv_conf.write_text("nameserver 127.0.0.1\n")
        line = await authority_line(self._node(_AUTHORITY), empty)
        common = [*torrc.COMMON, ("DirAuthority", line)]
        await asyncio.gather(*(self._launch(name, common) for name in _SERVERS))
        await self._agree()
        socks = f"{self._subnet}.100:{SOCKS_PORT}"
        client = self._add("client", [*common, ("SocksPort", socks), *self._client])
        await client.start()
        await client.bootstrapped()
        exit_ = self._processes[_EXIT].control_address
        return SmallNetwork(client.control_address, socks, exit_, self._fingerprints())

    async def stop(self) -> None:
        await asyncio.gather(*(process.stop() for process in self._processes.values()))

    async def _agree(self) -> None:
        """A first consensus, and every directory full: a client that comes earlier waits ten seconds for
        what one lacks."""
        async with AsyncExitStack() as stack:
            tors = [
                await stack.enter_async_context(await process.controller())
                for process in self._processes.values()
            ]
            authority, *relays = tors
            await consensus.all_published(authority, _SERVERS, lambda _: None)
            await consensus.vote(authority, _SERVERS)
            current = await consensus.date(authority)
            await asyncio.gather(*(one.reset_conf(*consensus.HELD_RELAY) for one in relays))
            await asyncio.gather(*(consensus.served(one, current, _SERVERS) for one in tors))

    async def _launch(self, name: str, common: Options) -> None:
        await self._add(name, [*common, *self._server(name), *self._own(name)]).start()

    def _add(self, name: str, options: Options) -> TorProcess:
        made = self._processes[name] = TorProcess(options, self._folder / name, name)
        return made

    def _server(self, name: str) -> Options:
        address = self._node(name).address
        return [
            *torrc.SERVER,
            ("Nickname", name),
            ("Address", address),
            ("OutboundBindAddress", address),
            ("ORPort", f"{address}:{OR_PORT} IPv4Only"),
            ("ServerDNSResolvConfFile", str(self._resolv_conf)),
        ]

    def _own(self, name: str) -> Options:
        if name == _AUTHORITY:
            port = ("DirPort", f"{self._node(name).address}:{DIR_PORT}")
            return [*torrc.AUTHORITY, ("ExitPolicy", "reject *:*"), port, consensus.far_vote()]
        return [*consensus.HELD_RELAY.items(), *(self._exit if name == _EXIT else _NO_EXIT)]

    def _node(self, name: str) -> Node:
        role = {_AUTHORITY: Role.AUTHORITY, _EXIT: Role.EXIT}.get(name, Role.RELAY)
        address = f"{self._subnet}.{_SERVERS.index(name) + 1}"
        data = self._folder / name
        return Node(name, role, address, data, data / "control", data / "socks")

    @property
    def _resolv_conf(self) -> Path:
        return self._folder / "resolv.conf"

    def _fingerprints(self) -> dict[str, str]:
        return {n: (self._folder / n / "fingerprint").read_text().split()[1] for n in _SERVERS}


def subnet(net: int) -> str:
    """The addresses of this run's network of that number: the first three octets."""
    return _SUBNET.format(net)


@contextmanager
def small_network(net: int, exit_: Options, client: Options = ()) -> Iterator[SmallNetwork]:
    """The network on 127.`net`.0.0/16, with these options of its exit and its client; stopped and removed
    whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="small-", dir="/tmp"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="small-network")
    thread.start()

    def run(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    async def make() -> _Runner:
        return _Runner(folder, net, exit_, client)

    runner = run(make())
    try:
        yield run(asyncio.wait_for(runner.start(), _HANG_GUARD))
    finally:
        try:
            run(runner.stop())
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            shutil.rmtree(folder, ignore_errors=True)
