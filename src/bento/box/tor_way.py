"""One instance's way to the functions' tor: control through the Stem firewall, streams, onion services.

The two listeners were opened inside the sandbox and handed out, so that being able to connect is
the authentication, as with egress. The isolation key is made here and never shown to the function: by
it tor keeps the function's streams apart from everybody else's, and the firewall knows them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bento.box.entrance import Entrance
from bento.box.neighbours import PastBoxes
from bento.box.onion_doors import OnionDoors
from bento.egress import NoRoute, TorRoute
from bento.egress.meters import TokenBucket
from bento.errors import TorError
from bento.firewall import RECORD, Settings, Usage, tor_username
from bento.protocol import control
from bento.sandbox.handshake import listeners

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from bento.box.functions_tor import FunctionsTor
    from bento.box.neighbours import Neighbours
    from bento.egress import EgressPolicy, EgressProxy
    from bento.egress.routes import Route
    from bento.firewall import Grants

_SOCKS_INSIDE = "127.0.0.1:9050"  # guest/tor.py opens it
_MOST_CONNECTIONS = 8  # one is served; the others are being told so
_PER_SECOND, _BURST = 2, 20  # connections that are looked at: one is all a function needs


class TorWay:
    """`key` names the function to tor; `path` is the guest's socket; `grants` what it may do."""

    def __init__(
        self,
        key: str,
        path: Path,
        grants: Grants,
        functions: FunctionsTor,
        egress: EgressProxy,
        policy: EgressPolicy,
        neighbours: Neighbours | None = None,
    ) -> None:
        """`egress` counts this way too; `policy` is the one for streams through tor, which lead to none
        of the `neighbours`."""
        self._neighbours = neighbours
        self.refusals: Counter[str] = Counter()
        self._path = path
        self._functions = functions
        self._doors = OnionDoors(path, egress)
        self._recorded = RECORD in grants
        self._settings = Settings(
            isolation_key=key,
            grants=grants.in_force,
            socks_listeners=(_SOCKS_INSIDE,),
            onion_ports=self._doors,
            usage=Usage(),
        )
        self.streams = egress.sibling(policy, self._route(key, grants.in_force))
        self._control: Entrance | None = None
        self._arrivals = TokenBucket(_PER_SECOND, _BURST)
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Gets the listeners of the guest and serves them. Raises HostError."""
        greeting = control.TOR + (control.RECORDED if self._recorded else control.PLAIN)
        commands, streams = await listeners(self._path, greeting, control.TOR_READY, 2)
        self._control = Entrance(commands, self._enter)
        await self.streams.serve(streams)

    async def close(self) -> None:
        """When it returns, nothing of the function is left in tor."""
        if self._control is not None:
            self._control.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.streams.close()
        await self._doors.close()

    # -- inside ------------------------------------------------------------------------------

    def _route(self, key: str, grants: Grants) -> Route:
        if "streams" in grants:
            route = TorRoute(self._functions.socks, partial(tor_username, key))
            return PastBoxes(route, self._neighbours) if self._neighbours else route
        return NoRoute('streams through tor need the manifest line tor = ["streams"]')

    def _enter(self, guest: socket.socket) -> None:
        self._arrivals.spend(1)
        if (wait := self._arrivals.seconds_until(1)) and self._control is not None:
            self._control.pause(wait)
        if len(self._tasks) >= _MOST_CONNECTIONS:
            guest.close()
            return
        task = asyncio.create_task(self._serve(guest))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, guest: socket.socket) -> None:
        with contextlib.suppress(TorError):  # tor is away: the function's connection just ends
            relay = self._functions.own_relay
            settings = replace(self._settings, own_relays=frozenset({relay} if relay else ()))
            report = await self._functions.serve(guest, settings)
            self.refusals.update(report.refusals)
