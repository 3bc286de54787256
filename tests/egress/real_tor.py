"""Asks a real exit relay for its verdicts, in a network namespace from which nothing can leave.

A private Tor network runs inside a namespace that has only loopback, and there every address is
local (`ip route add local default dev lo`): what the exit allows ends at once in a refused
connection on the same interface, what it does not allow in END reason EXITPOLICY.

Started as `python -m tests.egress.real_tor`. Each line on standard input is a JSON object
{"options": {name: value or values}, "cases": [[address, port], ...]}; each line on standard output
is {"policy": the relay's own GETINFO exit-policy/full, "allowed": [bool, ...]}.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address

from tests.small_network import SmallNetwork, small_network

from bento.tor.control_codec import Event
from bento.tor.controller import Controller

AT_ONCE = 40
_POLICY = [("ExitRelay", "1"), ("ExitPolicy", "reject *:*")]  # until the first job
TRIES = 20
# How a stream ends, in tor's words, and whether the exit's policy had allowed it. Any other end
# says nothing about the policy, and the case is asked again.
VERDICTS = {"EXITPOLICY": False} | dict.fromkeys(
    ("CONNECTREFUSED", "NOROUTE", "MISC", "TIMEOUT", "DONE", "CONNRESET", "INTERNAL"), True
)


def enter_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "unshare")
    for command in (
        "link set lo up",
        "route add local 0.0.0.0/0 dev lo",
        "-6 route add local ::/0 dev lo",
    ):
        subprocess.run(["ip", *command.split()], check=True)


class Asker:
    """One two-hop circuit to the exit; streams are attached to it by where they come from."""

    def __init__(self, network: SmallNetwork, client: Controller, exit_relay: Controller) -> None:
        self._network = network
        self._client = client
        self._exit = exit_relay
        self._circuit = ""
        self._taken = 0  # sets of options
        self._waiting: dict[str, asyncio.Future[bool | None]] = {}  # by SOURCE_ADDR, then stream
        self._built: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._building = asyncio.Lock()
        self._busy = asyncio.Semaphore(AT_ONCE)
        self._silence = ""  # the last end of a stream that was no verdict

    async def start(self) -> None:
        # tor keeps two networks for names it maps itself and asks no exit about them: by default
        # 127.192.0.0/10 and fe80::/10, so they are moved to where no case is generated.
        await self._client.set_conf(
            {
                "__LeaveStreamsUnattached": "1",
                "VirtualAddrNetworkIPv4": "240.77.0.0/16",
                "VirtualAddrNetworkIPv6": "[fe80:7777::]/104",
            }
        )
        await self._client.subscribe({"STREAM", "CIRC"}, self._hear)
        await self._ready()

    async def set_options(self, options: dict[str, str | list[str]]) -> str:
        """The relay's policy after it has taken these options."""
        # Two rules that no other policy has make the change visible. Tor leaves out rules that change
        # nothing; of these it has to tell one at least.
        self._taken += 1
        marks = [f"accept 192.0.2.99:{self._taken}", f"reject 192.0.2.98/31:{self._taken}"]
        rules = options["ExitPolicy"]
        marked = [*marks, *([rules] if isinstance(rules, str) else rules)]
        return await self._take(
            {**options, "ExitPolicy": marked},
            lambda text: re.search(rf" 192\.0\.2\.9[89]\S*:{self._taken}\b", text) is not None,
        )

    async def verdict(self, address: str, port: int) -> bool:
        async with self._busy:
            for _ in range(TRIES):
                await self._ready()
                answer = await self._ask(address, port)
                if answer is not None:
                    return answer
        raise RuntimeError(f"no verdict on {address} port {port}: {self._silence}")

    async def _ready(self) -> None:
        """There is a circuit: the old one, or a new one if it has died."""
        prints = self._network.fingerprints
        async with self._building:
            while not self._circuit:
                self._built = asyncio.get_running_loop().create_future()
                reply = await self._client.command(
                    f"EXTENDCIRCUIT 0 ${prints['relay0']},${prints['exit']}"
                )
                self._circuit = reply.lines[-1].text.split()[1]
                await self._built

    async def _take(self, options: dict[str, str | list[str]], ready: Callable[[str], bool]) -> str:
        await self._exit.set_conf(options)
        while True:
            text = (await self._exit.get_info("exit-policy/full"))["exit-policy/full"]
            if ready(text):
                return text
            await asyncio.sleep(0.05)

    async def _ask(self, address: str, port: int) -> bool | None:
        loop = asyncio.get_running_loop()
        host, _, socks_port = self._network.client_socks.rpartition(":")
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, (host, int(socks_port)))
            name, number = sock.getsockname()
            answer: asyncio.Future[bool | None] = loop.create_future()
            self._waiting[f"{name}:{number}"] = answer
            ip = ip_address(address)
            kind = b"\x01" if isinstance(ip, IPv4Address) else b"\x04"
            await loop.sock_sendall(
                sock, b"\x05\x01\x00\x05\x01\x00" + kind + ip.packed + port.to_bytes(2, "big")
            )
            return await answer

    def _hear(self, event: Event) -> None:
        if event.keyword == "CIRC":
            self._hear_circuit(event.positional[0], event.positional[1])
            return
        stream, status, _, _ = event.positional[:4]
        if status == "NEW":
            source = event.keywords.get("SOURCE_ADDR", "")
            answer = self._waiting.pop(source, None)
            if answer is not None:
                self._waiting[stream] = answer
                self._send(f"ATTACHSTREAM {stream} {self._circuit or '0'}")
        elif status == "SUCCEEDED":
            self._settle(stream, True)
        elif status in ("DETACHED", "FAILED", "CLOSED"):
            answer = VERDICTS.get(event.keywords.get("REMOTE_REASON", ""))
            if answer is None:
                self._silence = f"{status} {event.keywords}"
            self._settle(stream, answer)

    def _settle(self, stream: str, answer: bool | None) -> None:
        waiting = self._waiting.pop(stream, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
            self._send(f"CLOSESTREAM {stream} 1")

    def _send(self, command: str) -> None:
        """A stream may be gone by itself before tor reads this; its reply is of no use."""
        self._client.send(command).add_done_callback(lambda reply: reply.exception())

    def _hear_circuit(self, circuit: str, status: str) -> None:
        if circuit != self._circuit:
            return
        if status in ("FAILED", "CLOSED"):
            self._circuit = ""
        if status in ("BUILT", "FAILED", "CLOSED") and not self._built.done():
            self._built.set_result(None)


async def serve(network: SmallNetwork) -> None:
    async with (
        await Controller.connect(network.client_control) as client,
        await Controller.connect(network.exit_control) as exit_relay,
    ):
        await client.authenticate()
        await exit_relay.authenticate()
        asker = Asker(network, client, exit_relay)
        await asker.start()
        for line in sys.stdin:
            job = json.loads(line)
            policy = await asker.set_options(job["options"])
            allowed = await asyncio.gather(*(asker.verdict(*case) for case in job["cases"]))
            print(json.dumps({"policy": policy, "allowed": allowed}), flush=True)


def main() -> None:
    enter_namespace()
    with small_network(91, _POLICY) as network:
        asyncio.run(serve(network))


if __name__ == "__main__":
    main()
