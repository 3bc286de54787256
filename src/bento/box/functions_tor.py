"""The functions' tor: a client of its own, behind the one Stem firewall, never the relay's.

Either the operator runs it and the configuration says where it is, or bentod starts one, which then
ends with bentod. A tor that went away is waited for (or started again); until it is back, a function's
control connection ends at once and its streams are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from bento.errors import BentoError, TorError
from bento.firewall import Firewall
from bento.safelog import Event, log
from bento.tor.control_codec import parse_arguments
from bento.tor.controller import Controller
from bento.tor.process import TorProcess

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine
    from pathlib import Path

    from bento.box.config import Config
    from bento.firewall import Report, Settings

_RETRY_SECONDS = 0.5
_END_SECONDS = 5.0
_CLIENT = (("ClientOnly", "1"), ("AvoidDiskWrites", "1"))


class FunctionsTor:
    """`socks` is its SOCKS port, as an endpoint; "" if this box has no such tor."""

    def __init__(self, config: Config) -> None:
        tor = config.tor
        wanted = bool(tor.allow) or config.egress.via == "tor" or config.capacity.boxes > 0
        self._own = wanted and not tor.functions_socks
        self._data = config.state / "functions-tor"
        self._run = config.run
        self._extra = tor.functions_torrc
        self._control = f"unix:{self._control_path}" if self._own else tor.functions_control
        self._guarded = bool(tor.allow)
        self.socks = f"unix:{config.run / 'functions.socks'}" if self._own else tor.functions_socks
        self.own_relay = ""  # its fingerprint, once known
        self._process: TorProcess | None = None
        self._firewall: Firewall | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Makes it ready once, without waiting for the Tor network. Raises TorError, HostError."""
        for path in self._run.glob("*.onion"):  # doors of a bentod that was killed
            path.unlink()
        await self._open()
        if self._own or self._guarded:
            self._spawn(self._keep())

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._firewall is not None:
            await self._firewall.close()
        await self._stop_process()
        if self._own:
            for name in ("functions.socks", "functions.control"):
                (self._run / name).unlink(missing_ok=True)

    def exclude(self, fingerprint: str) -> None:
        """The box's own relay (40 hex digits), which no function's circuit may contain."""
        if fingerprint and fingerprint != self.own_relay:
            self.own_relay = fingerprint
            self._spawn(self._prepare_again())

    @property
    def working(self) -> bool:
        """Whether functions can be served now."""
        return self._firewall is not None and not self._firewall.closed.done()

    async def serve(self, guest: socket.socket, settings: Settings) -> Report:
        """A function's control connection, until it ends. Raises TorError when tor is not there."""
        if self._firewall is None or self._firewall.closed.done():
            guest.close()
            raise TorError("the functions' tor is not there", "try again in a moment")
        return await self._firewall.serve(guest, settings)

    # -- inside ------------------------------------------------------------------------------

    @property
    def _control_path(self) -> Path:
        return self._run / "functions.control"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self) -> None:
        if self._own:
            await self._stop_process()
            await self._end_leftover()
            self._process = self._make_process()
            await self._process.start()
        await self._prepare()
        if self._guarded:
            self._firewall = await Firewall.open(self._control)

    def _make_process(self) -> TorProcess:
        options: list[tuple[str, str] | str] = [*_CLIENT, ("SocksPort", self.socks), *self._extra]
        return TorProcess(options, self._data, "of functions", control_socket=self._control_path)

    async def _end_leftover(self) -> None:
        """A tor of a bentod that was killed notices only after some seconds; this one cannot wait."""
        try:
            left = await Controller.connect(self._control)
        except TorError:
            return
        async with left:
            await left.authenticate()
            left.tell("SIGNAL HALT")
            async with asyncio.timeout(_END_SECONDS):
                await asyncio.wait([left.closed])

    async def _stop_process(self) -> None:
        if self._process is not None:
            await self._process.stop()

    async def _keep(self) -> None:
        while True:
            ends: list[asyncio.Future[Any]] = []
            if self._firewall is not None:
                ends.append(self._firewall.closed)
            if self._process is not None:
                ends.append(self._process.exited)
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            log(Event.FUNCTIONS_TOR_LOST)
            await self._come_back()
            log(Event.FUNCTIONS_TOR_BACK)

    async def _come_back(self) -> None:
        if self._firewall is not None:
            await self._firewall.close()
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            with contextlib.suppress(BentoError):
                await self._open()
                return

    async def _prepare_again(self) -> None:
        with contextlib.suppress(TorError):  # it is prepared whenever it comes back
            await self._prepare()

    async def _prepare(self) -> None:
        """What every function relies on, before the first is served: no circuits of an earlier
        bentod, and never a path through this box's own relay."""
        if not self._own and not self._guarded:
            return
        async with await Controller.connect(self._control) as tor:
            await tor.authenticate()
            if not self.working:
                for circuit in _built(await tor.get_info("circuit-status")):
                    with contextlib.suppress(TorError):  # it ended meanwhile
                        await tor.command(f"CLOSECIRCUIT {circuit}")
            if self.own_relay:
                await _exclude(tor, self.own_relay)


def _built(told: dict[str, str]) -> list[str]:
    """The circuits that somebody built by hand: of functions whose bentod was killed."""
    found = []
    for line in told["circuit-status"].splitlines():
        words, keywords = parse_arguments(line)
        if words and keywords.get("PURPOSE") == "CONTROLLER":
            found.append(words[0])
    return found


async def _exclude(tor: Controller, fingerprint: str) -> None:
    """Adds the relay to ExcludeNodes, whatever the operator has there."""
    reply = await tor.command("GETCONF ExcludeNodes")
    present = reply.text.partition("=")[2]
    if fingerprint not in present:
        nodes = ",".join(filter(None, (present, f"${fingerprint}")))
        await tor.set_conf({"ExcludeNodes": nodes})
