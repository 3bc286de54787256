"""A private Tor network on loopback for this room's tests: unmodified tors, addresses 127.N.0.k.

One authority, seven relays of which two are exits, two C-tor clients. Starts from nothing in about
20 s; the session fixture `network` starts it once and stops it at the end of the run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import stem
import stem.control

from bento.testnet.addresses import hold
from bento.testnet.layout import NET_NUMBERS

OR_PORT, DIR_PORT, SOCKS_PORT = 9001, 9030, 9050
VOTING_SECONDS = 20
START_SECONDS = 120  # a hang guard, not a promise
_ENVIRONMENT = dict(os.environ, MALLOC_MMAP_THRESHOLD_="131072", MALLOC_TRIM_THRESHOLD_="131072")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Node:
    """One tor process."""

    root: Path
    name: str
    address: str
    role: str
    extra: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        return self.root / self.name

    @property
    def control_socket(self) -> Path:
        return self.home / "control"

    @property
    def cookie(self) -> bytes:
        return (self.home / "control_auth_cookie").read_bytes()

    @property
    def fingerprint(self) -> str:
        return (self.home / "fingerprint").read_text().split()[1]

    @property
    def pid(self) -> int:
        return int((self.home / "pid").read_text())

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def controller(self) -> stem.control.Controller:
        controller = stem.control.Controller.from_socket_file(str(self.control_socket))
        controller.authenticate()
        return controller

    def ask(self, key: str) -> str:
        with self.controller() as controller:
            return controller.get_info(key)


_COMMON = (
    "TestingTorNetwork 1",
    "CookieAuthentication 1",
    "PathsNeededToBuildCircuits 0.67",
    "ShutdownWaitLength 0",
    "NumCPUs 1",
    "ClientUseIPv6 0",
    "TestingMinExitFlagThreshold 0",
    "TestingMinFastFlagThreshold 0",
    "TestingDirAuthVoteExit *",
    "TestingDirAuthVoteHSDir *",
    "TestingDirAuthVoteGuard *",
    "V3AuthNIntervalsValid 3",
)
_SERVER = (
    "AssumeReachable 1",
    "ServerDNSDetectHijacking 0",
    "ServerDNSAllowBrokenConfig 1",
    "SocksPort 0",
    "ExtraInfoStatistics 0",
)
_ROLE: dict[str, tuple[str, ...]] = {
    "authority": (
        *_SERVER,
        "AuthoritativeDirectory 1",
        "V3AuthoritativeDirectory 1",
        "TestingV3AuthInitialVotingInterval 5",
        "TestingV3AuthInitialVoteDelay 2",
        "TestingV3AuthInitialDistDelay 2",
        f"V3AuthVotingInterval {VOTING_SECONDS}",
        "V3AuthVoteDelay 2",
        "V3AuthDistDelay 2",
        "ContactInfo authority@example.test",
        "ExitRelay 0",
        "ExitPolicy reject *:*",
    ),
    "relay": (*_SERVER, "ExitRelay 0", "ExitPolicy reject *:*"),
    "exit": (
        *_SERVER,
        "ExitRelay 1",
        "ExitPolicyRejectPrivate 0",
        "ExitPolicy reject *:9",
        "ExitPolicy accept *:*",
        "IPv6Exit 0",
    ),
    "client": (),
}


class NameServer:
    """Answers A for everything under example.test, and NXDOMAIN for the rest."""

    def __init__(self, address: str, web: str) -> None:
        self.address = address
        self._web = socket.inet_aton(web)
        self._socket: socket.socket | None = None

    def start(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.address, 53))
        threading.Thread(target=self._serve, args=(self._socket,), daemon=True).start()

    def stop(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                query, peer = listener.recvfrom(512)
                listener.sendto(self._answer(query), peer)
            except OSError:
                return

    def _answer(self, query: bytes) -> bytes:
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].lower())
            at += 1 + query[at]
        question, kind = query[12 : at + 5], query[at + 1 : at + 3]
        known = labels[-2:] == [b"example", b"test"]
        found = known and kind == b"\0\1"
        head = query[:2] + (b"\x81\x80" if known else b"\x81\x83")
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + self._web if found else b""
        return head + b"\0\1\0" + bytes([found]) + bytes(4) + question + record


@dataclass
class PrivateNetwork:
    """`net` is the N of its addresses; by default that of the network kept in `root`, or a free one."""

    root: Path
    net: int = 0
    nodes: dict[str, Node] = field(default_factory=dict)
    authority_line: str = ""

    @property
    def web(self) -> str:
        """Where "the web" of this network lives; every name under example.test leads there."""
        return f"127.{self.net}.9.1"

    def __post_init__(self) -> None:
        self._claim: socket.socket | None = None
        kept = self.root / "net"
        if not self.net:
            self.net = int(kept.read_text()) if kept.exists() else self._free_net()
        self.names = NameServer(f"127.{self.net}.9.53", self.web)
        names = ["a0", *(f"r{i}" for i in range(5)), "x0", "x1", "c0", "c1"]
        roles = {"a": "authority", "r": "relay", "x": "exit", "c": "client"}
        for number, name in enumerate(names, 1):
            self._add(name, roles[name[0]], number)

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    @property
    def servers(self) -> list[Node]:
        return [n for n in self.nodes.values() if n.role != "client"]

    def _add(self, name: str, role: str, number: int) -> Node:
        node = Node(self.root, name, f"127.{self.net}.0.{number}", role)
        self.nodes[name] = node
        return node

    def _free_net(self) -> int:
        """A net that no other network of the machine has, kept until `stop`."""
        for number in reversed(NET_NUMBERS):
            self._claim = hold(number)
            if self._claim is not None:
                return number
        raise AssertionError("every loopback net is taken")

    def start(self) -> PrivateNetwork:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "net").write_text(str(self.net))
        (self.root / "empty").touch()
        (self.root / "resolv.conf").write_text(f"nameserver {self.names.address}\n")
        self.names.start()
        for node in self.nodes.values():
            node.home.mkdir(mode=0o700, exist_ok=True)
        self.authority_line = self._authority_keys(self["a0"])
        for node in self.servers:
            self._spawn(node)
        count = len(self.servers)
        authority = self["a0"]
        _until(lambda: authority.ask("ns/all").count("\nr ") + 1 >= count)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._wait_for_microdescriptors, self.servers))
        for node in self.nodes.values():
            if node.role == "client":
                self._spawn(node)
        for node in self.nodes.values():
            if node.role == "client":
                _until(lambda node=node: "PROGRESS=100" in node.ask("status/bootstrap-phase"))
                _until(lambda node=node: node.ask("ns/all").count("\nr ") + 1 >= count)
        return self

    def stop(self) -> None:
        self.names.stop()
        running = [n.process for n in self.nodes.values() if n.process is not None]
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._claim is not None:
            self._claim.close()

    def _wait_for_microdescriptors(self, node: Node) -> None:
        with _retry(node.controller) as controller:
            for other in self.servers:
                _until(lambda other=other: bool(controller.get_info(f"md/name/{other.name}")))

    def _torrc(self, node: Node) -> str:
        lines = [
            *_COMMON,
            *_ROLE[node.role],
            *node.extra,
            f"DataDirectory {node.home}",
            f"Nickname {node.name}",
            f"PidFile {node.home}/pid",
            f"ControlSocket {node.control_socket}",
            f"Log notice file {node.home}/notice.log",
            self.authority_line,
        ]
        if node.role == "client":
            lines.append(f"SocksPort {node.address}:{SOCKS_PORT}")
        else:
            lines += [
                f"Address {node.address}",
                f"OutboundBindAddress {node.address}",
                f"ORPort {node.address}:{OR_PORT} IPv4Only",
                f"ServerDNSResolvConfFile {self.root}/resolv.conf",
            ]
        if node.role == "authority":
            lines.append(f"DirPort {node.address}:{DIR_PORT}")
        return "\n".join(lines) + "\n"

    def _spawn(self, node: Node) -> None:
        torrc = node.home / "torrc"
        torrc.write_text(self._torrc(node))
        with (node.home / "stdout.log").open("ab") as log:
            node.process = subprocess.Popen(
                ["tor", "-f", torrc, "--defaults-torrc", self.root / "empty"],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=_ENVIRONMENT,
            )

    def _authority_keys(self, node: Node) -> str:
        keys = node.home / "keys"
        keys.mkdir(mode=0o700, exist_ok=True)
        certificate = keys / "authority_certificate"
        if not certificate.exists():
            subprocess.run(
                ["tor-gencert", "--create-identity-key", "--passphrase-fd", "0", "-m", "12"]
                + ["-a", f"{node.address}:{DIR_PORT}", "-i", keys / "authority_identity_key"]
                + ["-s", keys / "authority_signing_key", "-c", certificate],
                input=b"pass\n",
                check=True,
                capture_output=True,
            )
        v3 = re.search(r"(?m)^fingerprint ([0-9A-F]{40})", certificate.read_text())[1]
        if not (node.home / "fingerprint").exists():
            subprocess.run(
                ["tor", "--list-fingerprint", "--quiet", "--orport", "1", "--dirauthority"]
                + [f"x 127.0.0.1:1 {'F' * 40}", "--datadirectory", node.home]
                + ["-f", self.root / "empty", "--defaults-torrc", self.root / "empty"]
                + ["--nickname", node.name],
                check=True,
                capture_output=True,
            )
        return (
            f"DirAuthority {node.name} orport={OR_PORT} no-v2 v3ident={v3} "
            f"{node.address}:{DIR_PORT} {node.fingerprint}"
        )


def _until(ready: Callable[[], bool]) -> None:
    """Waits until `ready()` is true; a tor that is not there yet counts as not ready."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            if ready():
                return
        except (stem.ControllerError, OSError):
            pass
        time.sleep(0.1)
    raise TimeoutError("The private Tor network did not come up.")


def _retry(make: Callable[[], stem.control.Controller]) -> stem.control.Controller:
    made: list[stem.control.Controller] = []
    _until(lambda: bool(made.append(make()) or made))
    return made[0]


def running(root: Path) -> Iterator[PrivateNetwork]:
    """A network for as long as the generator lives."""
    network = PrivateNetwork(root)
    try:
        yield network.start()
    finally:
        network.stop()
        shutil.rmtree(root, ignore_errors=True)
