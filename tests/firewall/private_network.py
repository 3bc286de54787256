"""A private Tor network for the firewall's tests: authority, three relays, exit, functions' tor.

It lives in a thread with an event loop of its own; tests see addresses only. Everything is on
loopback, in 127.94.0.0/16.
"""

from __future__ import annotations

import asyncio
import os
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

SUBNET = f"127.94.{os.getpid() % 250 + 1}"
WEB = f"{SUBNET}.200"
REFUSED_PORT = 81  # of WEB: the exit refuses what its policy summary seems to allow
HANG_GUARD = 240  # seconds; about 20 are usual

AUTHORITY = """
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
TestingV3AuthInitialVotingInterval 5
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVotingInterval 10
V3AuthVoteDelay 2
V3AuthDistDelay 2
TestingMinExitFlagThreshold 0
TestingMinFastFlagThreshold 0
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingDirAuthVoteHSDir *
ContactInfo authority@example.test
"""
POLICIES = {"exit": f"ExitRelay 1\nExitPolicy reject {WEB}:81, accept *:*"}
NO_EXIT = "ExitRelay 0\nExitPolicy reject *:*"
SERVERS = ("authority", "relay0", "relay1", "relay2", "exit")


@dataclass(frozen=True)
class PrivateNetwork:
    control: str  # of the functions' tor
    socks: str
    fingerprints: dict[str, str]  # by nickname


class _Network:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, TorProcess] = {}

    async def start(self) -> PrivateNetwork:
        (self.folder / "empty").touch()
        (self.folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        common = self.common(await asyncio.to_thread(self.authority_keys))
        for number, name in enumerate(SERVERS, 1):
            extra = AUTHORITY + f"DirPort {SUBNET}.1:9030\n" if name == "authority" else ""
            address = f"{SUBNET}.{number}"
            await self.launch(
                name, common + extra + self.server(name, address) + POLICIES.get(name, NO_EXIT)
            )
        await self.directories_are_full()
        socks = f"{SUBNET}.100:9050"
        # A loaded machine must not make a circuit fail: tor would learn a time-out of a second.
        patience = "LearnCircuitBuildTimeout 0\nCircuitBuildTimeout 120\n"
        await self.launch("functions", common + patience + f"SocksPort {socks}\n")
        functions = self.processes["functions"]
        await functions.bootstrapped()
        prints = {name: fingerprint(self.folder / name) for name in SERVERS}
        return PrivateNetwork(functions.control_address, socks, prints)

    async def stop(self) -> None:
        await asyncio.gather(*(process.stop() for process in self.processes.values()))

    async def launch(self, name: str, torrc: str) -> None:
        process = TorProcess(torrc.split("\n"), self.folder / name, name)
        self.processes[name] = process
        await process.start()

    def common(self, authority: str) -> str:
        return (
            f"TestingTorNetwork 1\nDirAuthority {authority}\nPathsNeededToBuildCircuits 0.67\n"
            f"ShutdownWaitLength 0\nNumCPUs 1\n"
            f"ServerDNSResolvConfFile {self.folder / 'resolv.conf'}\n"
        )

    def server(self, name: str, address: str) -> str:
        return (
            f"Nickname {name}\nAddress {address}\nOutboundBindAddress {address}\n"
            f"ORPort {address}:9001 IPv4Only\nSocksPort 0\nAssumeReachable 1\n"
            "ServerDNSDetectHijacking 0\nServerDNSAllowBrokenConfig 1\n"
        )

    async def directories_are_full(self) -> None:
        """A client that comes earlier waits ten seconds for what a cache lacks."""
        for process in self.processes.values():
            async with await process.controller() as controller:
                for name in SERVERS:
                    await until_known(controller, f"md/name/{name}")

    def authority_keys(self) -> str:
        folder, empty = self.folder / "authority", str(self.folder / "empty")
        keys = folder / "keys"
        keys.mkdir(mode=0o700, parents=True)
        folder.chmod(0o700)
        gencert = ["tor-gencert", "--create-identity-key", "--passphrase-fd", "0", "-m", "12"]
        gencert += ["-a", f"{SUBNET}.1:9030", "-c", str(keys / "authority_certificate")]
        gencert += ["-i", str(keys / "authority_identity_key")]
        gencert += ["-s", str(keys / "authority_signing_key")]
        subprocess.run(gencert, input=b"pass\n", check=True, capture_output=True)
        listing = ["tor", "--list-fingerprint", "--quiet", "--orport", "1", "-f", empty]
        listing += ["--defaults-torrc", empty, "--datadirectory", str(folder)]
        listing += ["--nickname", "authority", "--dirauthority", "x 127.0.0.1:1 " + "F" * 40]
        subprocess.run(listing, check=True, capture_output=True)
        certificate = (keys / "authority_certificate").read_text().split("\n")
        v3 = next(line.split()[1] for line in certificate if line.startswith("fingerprint "))
        return f"authority orport=9001 no-v2 v3ident={v3} {SUBNET}.1:9030 {fingerprint(folder)}"


def fingerprint(folder: Path) -> str:
    return (folder / "fingerprint").read_text().split()[1]


async def until_known(controller: Controller, key: str) -> None:
    while True:
        try:
            if (await controller.get_info(key))[key].strip():
                return
        except TorError:
            pass
        await asyncio.sleep(0.1)


@contextmanager
def private_network() -> Iterator[PrivateNetwork]:
    """The network, started; stopped and removed whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="firewall-", dir="/tmp"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="private-network")
    thread.start()

    def run(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    async def make() -> _Network:
        return _Network(folder)

    network = run(make())
    try:
        yield run(asyncio.wait_for(network.start(), HANG_GUARD))
    finally:
        try:
            run(network.stop())
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            shutil.rmtree(folder, ignore_errors=True)
