"""A small private Tor network: 1 authority, 3 relays, 1 exit, 1 client.

For tests that need a network in a network namespace of their own, or its relays' control ports;
the others share the one of `bento.testnet`. It lives in a thread with an event loop of its own, so
that tests, each with its own loop, only see addresses and names. All of it is under 127.91.0.0/16.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bento.errors import TorError
from bento.tor.controller import Controller
from bento.tor.process import TorProcess

# Runs at the same time on one machine must not meet: each has its own third octet.
SUBNET = f"127.91.{os.getpid() % 250 + 1}"
OR_PORT, DIR_PORT = 9001, 9030
START_LIMIT = 180  # seconds; a hang guard, about 20 are usual


@dataclass(frozen=True)
class SmallNetwork:
    """What a test may know of a network."""

    client_control: str  # of a client whose tor we own
    client_socks: str
    relay_control: str  # of the exit relay
    fingerprints: dict[str, str]  # by nickname: authority, relay0..2, exit
    addresses: dict[str, str]
    web: str  # an address the exit connects to, any port


def _common(directory: Path, authority_line: str) -> list[tuple[str, str]]:
    return [
        ("TestingTorNetwork", "1"),
        ("DirAuthority", authority_line),
        ("PathsNeededToBuildCircuits", "0.67"),
        ("ShutdownWaitLength", "0"),
        ("NumCPUs", "1"),
        ("ServerDNSResolvConfFile", str(directory / "resolv.conf")),
    ]


def _server(name: str, address: str) -> list[tuple[str, str]]:
    return [
        ("Nickname", name),
        ("Address", address),
        ("OutboundBindAddress", address),
        ("ORPort", f"{address}:{OR_PORT} IPv4Only"),
        ("SocksPort", "0"),
        ("AssumeReachable", "1"),
        ("ServerDNSDetectHijacking", "0"),
        ("ServerDNSAllowBrokenConfig", "1"),
    ]


_AUTHORITY = [
    ("AuthoritativeDirectory", "1"),
    ("V3AuthoritativeDirectory", "1"),
    ("TestingV3AuthInitialVotingInterval", "5"),
    ("TestingV3AuthInitialVoteDelay", "2"),
    ("TestingV3AuthInitialDistDelay", "2"),
    ("V3AuthVotingInterval", "10"),
    ("V3AuthVoteDelay", "2"),
    ("V3AuthDistDelay", "2"),
    ("TestingMinExitFlagThreshold", "0"),
    ("TestingMinFastFlagThreshold", "0"),
    ("TestingDirAuthVoteExit", "*"),
    ("TestingDirAuthVoteGuard", "*"),
    ("TestingDirAuthVoteHSDir", "*"),
    ("ContactInfo", "authority@example.test"),
]


class _Runner:
    """Starts and stops the tors; all of it in one event loop."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[TorProcess] = []
        names = ("authority", "relay0", "relay1", "relay2", "exit", "client")
        self.addresses = {name: f"{SUBNET}.{k}" for k, name in enumerate(names, 1)}

    async def start(self) -> SmallNetwork:
        (self.directory / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        authority_line = await asyncio.to_thread(self._make_authority_keys)
        common = _common(self.directory, authority_line)
        dir_port = ("DirPort", f"{self.addresses['authority']}:{DIR_PORT}")
        no_exit = [("ExitRelay", "0"), ("ExitPolicy", "reject *:*")]
        policy = [("ExitRelay", "1"), ("ExitPolicy", "accept 127.91.0.0/16:*, reject *:*")]
        await self._launch("authority", [*common, dir_port, *_AUTHORITY, *no_exit])
        for name in ("relay0", "relay1", "relay2"):
            await self._launch(name, [*common, *no_exit])
        await self._launch("exit", [*common, *policy])
        await self._wait_for_directories()
        client = TorProcess([*common, ("SocksPort", self._socks)], self.directory / "c", "client")
        self.processes.append(client)
        await client.start()
        await client.bootstrapped()
        return self._describe(client)

    async def stop(self) -> None:
        await asyncio.gather(*(process.stop() for process in self.processes))

    @property
    def _socks(self) -> str:
        return f"{self.addresses['client']}:9050"

    async def _launch(self, name: str, options: list[tuple[str, str]]) -> None:
        options = [*_server(name, self.addresses[name]), *options]
        process = TorProcess(options, self.directory / name, name)
        self.processes.append(process)
        await process.start()

    async def _wait_for_directories(self) -> None:
        """Until every server holds the microdescriptor of every other: then a client needs none
        of its own waiting times."""
        for process in self.processes:
            async with await process.controller() as controller:
                for name in (p.name for p in self.processes):
                    await _until_known(controller, f"md/name/{name}")

    def _make_authority_keys(self) -> str:
        folder, address = self.directory / "authority", self.addresses["authority"]
        keys = folder / "keys"
        keys.mkdir(mode=0o700, parents=True)
        folder.chmod(0o700)
        certificate = keys / "authority_certificate"
        subprocess.run(
            ["tor-gencert", "--create-identity-key", "--passphrase-fd", "0", "-m", "12"]
            + ["-a", f"{address}:{DIR_PORT}", "-c", str(certificate)]
            + ["-i", str(keys / "authority_identity_key")]
            + ["-s", str(keys / "authority_signing_key")],
            input=b"pass\n",
            check=True,
            capture_output=True,
        )
        empty = self.directory / "empty"
        empty.write_text("")
        subprocess.run(
            ["tor", "--list-fingerprint", "--quiet", "--orport", "1", "--nickname", "authority"]
            + ["--dirauthority", "x 127.0.0.1:1 " + "F" * 40, "--datadirectory", str(folder)]
            + ["-f", str(empty), "--defaults-torrc", str(empty)],
            check=True,
            capture_output=True,
        )
        found = re.search(r"^fingerprint ([0-9A-F]{40})", certificate.read_text(), re.MULTILINE)
        assert found
        return (
            f"authority orport={OR_PORT} no-v2 v3ident={found[1]} "
            f"{address}:{DIR_PORT} {_fingerprint(folder)}"
        )

    def _describe(self, client: TorProcess) -> SmallNetwork:
        servers = [process for process in self.processes if process is not client]
        return SmallNetwork(
            client_control=client.control_address,
            client_socks=self._socks,
            relay_control=next(p for p in servers if p.name == "exit").control_address,
            fingerprints={p.name: _fingerprint(p.data_directory) for p in servers},
            addresses=self.addresses,
            web=f"{SUBNET}.200",
        )


def _fingerprint(folder: Path) -> str:
    return (folder / "fingerprint").read_text().split()[1]


async def _until_known(controller: Controller, key: str) -> None:
    while True:
        try:
            if (await controller.get_info(key))[key].strip():
                return
        except TorError:
            pass
        await asyncio.sleep(0.1)


@contextmanager
def small_network() -> Iterator[SmallNetwork]:
    """The network, started; stopped and removed whatever happens to the tests."""
    directory = Path(tempfile.mkdtemp(prefix="tor-room-", dir="/tmp"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="small-network")
    thread.start()

    def run(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    async def make() -> _Runner:
        return _Runner(directory)

    runner = run(make())
    try:
        yield run(asyncio.wait_for(runner.start(), START_LIMIT))
    finally:
        try:
            run(runner.stop())
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            shutil.rmtree(directory, ignore_errors=True)
