"""A box under attack: a neighbour that works, a door that is asked, and what a hostile function may
know of the machine.

The box is the real one, without Tor. Names are answered from a table: whatever a function asks
for, nothing leaves loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import socket
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests.e2e.web import web_site
from tests.hostile.attack import ENDED, HELD, Attack
from tests.local_box import LocalBox, local_box
from tests.waiting import until

from bento.box.config import Egress
from bento.egress import OrPorts
from bento.egress.resolve import TableResolver
from bento.errors import BentoError, FunctionError

HOLD = 0.4  # seconds an attack that never ends may go on
HANG_GUARD = 240  # seconds

NEIGHBOUR = b"""
import _socket, hashlib
def main(api):
    open("/tmp/neighbours-secret", "w").write("mine")
    keep = _socket.socket()
    keep.bind(("127.0.0.1", 0))
    keep.listen()
    hidden = _socket.socket(1, 1)
    hidden.bind("\\0neighbour")
    hidden.listen()
    api.send(keep.getsockname()[1].to_bytes(4, "big"))
    block = bytes(1 << 16)
    while True:
        for _ in range(20):
            hashlib.sha256(block)
        api.send(b".")
"""

_RELAY = "127.94.0.1"
_EGRESS = Egress(via="direct", relays=True, test_web="127.80.0.0/16", test_relays="127.94.0.0/16")

_NAMES = {
    "localhost": ["127.0.0.1"],
    "inside.test": ["10.0.0.1"],
    "metadata.test": ["169.254.169.254"],
    "mapped.test": ["::ffff:127.0.0.1"],
}


class Resolver(TableResolver):
    """Asks nobody."""

    def __init__(self) -> None:
        super().__init__({n: [ip_address(a) for a in found] for n, found in _NAMES.items()})

    def close(self) -> None:
        pass


@dataclass
class Window:
    """A stretch of time: what the neighbour got done, and how long the door took to answer."""

    seconds: float
    work: int
    hellos: list[float]

    @property
    def rate(self) -> float:
        return self.work / self.seconds


@dataclass
class Arena:
    """`run` an attack; `quiet` and `attacked` collect what was measured beside and during them."""

    local: LocalBox
    runtime: str
    facts: dict[str, Any] = field(default_factory=dict)
    quiet: list[Window] = field(default_factory=list)
    attacked: list[Window] = field(default_factory=list)
    work: int = 0

    async def run(self, attack: Attack) -> str:
        """What the attack came to; nothing of its instance is left then."""
        before = set(self.local.instances)
        instance, session = await self.local.box.run(attack.source, **self.facts)
        (mine,) = set(self.local.instances) - before
        pid = mine.sandbox.pid
        endless = HELD in attack.expected(self.runtime)
        feeding = asyncio.create_task(_feed(session)) if endless else None
        try:
            async with asyncio.timeout(HOLD if endless else HANG_GUARD):
                answer = b"".join([piece async for piece in session if not endless])
            outcome = answer.decode()
        except TimeoutError:
            held = HELD if mine.sandbox.alive else ENDED
            outcome = held if endless else "it hangs"
        except FunctionError as error:
            outcome = f"FunctionError: {error.detail}"
        except BentoError:
            outcome = ENDED
        if feeding:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        await session.detach()
        with contextlib.suppress(BentoError):  # it has ended
            await instance.shutdown()
        await until(lambda: mine not in set(self.local.instances))
        assert not Path(f"/proc/{pid}").exists(), "a process outlived its instance"
        return outcome

    async def hello(self) -> float:
        """Seconds until the door has answered."""
        began = time.perf_counter()
        greeting = await self.local.box.inquire()
        assert greeting.policy.images
        return time.perf_counter() - began

    async def go_on(self) -> None:
        """Returns once the neighbour has got something more done, and the door has answered."""
        await self.hello()
        done = self.work
        await until(lambda: self.work > done)

    @contextlib.asynccontextmanager
    async def measured(self, windows: list[Window]) -> AsyncIterator[None]:
        """Adds what happens within to `windows`."""
        hellos: list[float] = []
        asking = asyncio.create_task(self._ask(hellos))
        began, done = time.perf_counter(), self.work
        try:
            yield
        finally:
            seconds, work = time.perf_counter() - began, self.work - done
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        windows.append(Window(seconds, work, hellos))

    async def _ask(self, hellos: list[float]) -> None:
        while True:
            hellos.append(await self.hello())
            await asyncio.sleep(0.05)

    @property
    def neighbours_share(self) -> float:
        """The neighbour's throughput under attack, of what it has in quiet moments: the totals, as
        a single window is too short to mean anything."""
        return _rate(self.attacked) / _rate(self.quiet)

    @property
    def hello_seconds(self) -> tuple[float, float]:
        """Medians: in quiet moments, under attack."""
        return _hello(self.quiet), _hello(self.attacked)


def _rate(windows: list[Window]) -> float:
    return sum(window.work for window in windows) / sum(window.seconds for window in windows)


def _hello(windows: list[Window]) -> float:
    return statistics.median(hello for window in windows for hello in window.hellos)


async def _feed(session: Any) -> None:
    with contextlib.suppress(BentoError):
        while True:
            await session.send(bytes(1 << 20))


@contextlib.asynccontextmanager
async def arena(runtime: str = "bubblewrap") -> AsyncIterator[Arena]:
    """A box of `runtime`, its neighbour at work."""
    async with contextlib.AsyncExitStack() as stack:
        local = await stack.enter_async_context(
            local_box(runtime=runtime, egress=_EGRESS, pool=2, instances=8, cpu=1.0)
        )
        local.guard._resolver = Resolver()
        found = Arena(local, runtime)
        instance, session = await local.box.run(NEIGHBOUR)
        pieces = aiter(session)
        port = int.from_bytes(await anext(pieces), "big")
        working = asyncio.create_task(_count(found, pieces))
        stack.push_async_callback(_stop, working, session)
        (neighbour,) = local.instances
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        hidden = f"bento-arena-{os.urandom(8).hex()}"
        unix.bind("\0" + hidden)
        unix.listen()
        canary = local.config.state / "canary"
        canary.write_text("nobody may read this")
        site, _ = stack.enter_context(web_site({}))
        # Nothing listens there: an attack that gets so far is told ECONNREFUSED.
        unheard = stack.enter_context(socket.socket())
        unheard.bind((_RELAY, 0))
        inside, relay = tcp.getsockname()[1], unheard.getsockname()[1]
        # What a lying consensus could say, too.
        lines = (f"{_RELAY}:{relay}", f"127.0.0.1:{inside}", "10.0.0.1:443", "[fe80::1]:443")
        local.guard.listed(OrPorts.parse("".join(f"a {line}\n" for line in lines)))
        found.facts = {
            "bentod": os.getpid(),
            "neighbour": neighbour.sandbox.pid,
            "neighbours_port": port,
            "port": tcp.getsockname()[1],
            "abstract": hidden,
            "state": str(local.config.state),
            "run": str(local.config.run),
            "canary": str(canary),
            "host": platform.node(),
            "marker": os.urandom(8).hex(),
            "relay": _RELAY,
            "or_port": relay,
            "web_port": int(site.rpartition(":")[2]),
        }
        yield found
        tcp.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            raise AssertionError(f"somebody reached the machine: {tcp.accept()}")
        await instance.shutdown()


async def _count(found: Arena, pieces: AsyncIterator[bytes]) -> None:
    async for piece in pieces:
        found.work += len(piece)


async def _stop(working: asyncio.Task[None], session: Any) -> None:
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await session.detach()
