"""The way into the network for one box: a directory kept fresh, one link, circuits on demand.

Relays limit how many links one address may have and how many circuits each of several links may
make; with one link neither limit bites. The link goes to C-tor's own guard, so that no more relays
see this box than C-tor shows it to anyway.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence

from bento.errors import RemoteProtocolError, TorError
from bento.onion import directory
from bento.onion.channel import Channel
from bento.onion.circuit import Circuit
from bento.onion.congestion import PathKind, VegasParams
from bento.onion.consensus import Relay
from bento.onion.directory import ControlPort, Directory
from bento.onion.errors import CircuitClosed, LinkClosed
from bento.onion.linkspec import Target
from bento.onion.padding import HIGH_MS, LOW_MS, PaddingRange

ATTEMPTS = 3  # to build one circuit, each over another path
_ASK_SHARE = 1 / 20  # of the time between two consensuses: how often an overdue one is asked for
_GENERAL_HOPS = 3
_SERVICE_HOPS = 4  # guard, two middles, last: a relay refuses to extend back to the hop before it


class Network:
    """`control` is the control port of a C-tor on the same machine."""

    def __init__(self, control: ControlPort) -> None:
        self._control = control
        self._directory: Directory | None = None
        self._links: dict[bytes, Channel] = {}
        self._lock = asyncio.Lock()
        self._asking = asyncio.Lock()
        self._ask_again = 0.0

    async def directory(self) -> Directory:
        """What tor knows; asked again when the next consensus should be there. tor may have it hours
        later: until then, and while it does not answer, what is known is good as long as it is valid.

        Raises TorError when nothing valid is known."""
        async with self._asking:
            now, known = time.time(), self._directory
            if known is None:
                known = self._directory = await directory.load(self._control)
            elif now >= max(known.consensus.fresh_until, self._ask_again):
                self._ask_again = now + known.consensus.voting_interval * _ASK_SHARE
                try:
                    if await directory.is_newer(self._control, known):
                        known = self._directory = await directory.load(self._control)
                except TorError:
                    if now >= known.consensus.valid_until:
                        raise
            return known

    async def circuit_to(
        self,
        target: Relay | Target,
        *,
        congestion: PathKind | None = None,
        hops: int = _SERVICE_HOPS,
    ) -> Circuit:
        """A circuit that ends at `target`; another path is tried when one fails.

        `congestion` asks the last hop for congestion control. Raises TorError.
        """
        known = await self.directory()
        end = target.target if isinstance(target, Relay) else target
        wish = self.vegas(congestion) if congestion is not None else None
        failure: TorError | None = None
        for _ in range(ATTEMPTS):
            link, guard = await self._linked(avoid=[end.identity.rsa])
            path = known.choose_path(hops - 1, avoid=[end.identity.rsa], guard=guard)
            try:
                return await self._build(link, [*(r.target for r in path), end], wish)
            except (CircuitClosed, LinkClosed) as error:
                failure = error
        raise failure or TorError("no circuit could be made")

    async def exit_circuit(self, last: Relay) -> Circuit:
        """Three hops to `last`, with congestion control when it can."""
        kind = PathKind.EXIT if last.congestion_control else None
        return await self.circuit_to(last, congestion=kind, hops=_GENERAL_HOPS)

    def vegas(self, kind: PathKind) -> VegasParams:
        """The consensus parameters of congestion control."""
        known = self._directory
        return VegasParams.from_consensus(known.consensus.parameters if known else {}, kind)

    async def close(self) -> None:
        """Ends all links, and with them all circuits."""
        for link in self._links.values():
            await link.close()
        self._links.clear()

    async def _build(
        self, link: Channel, path: Sequence[Target], congestion: VegasParams | None
    ) -> Circuit:
        return await link.new_circuit().build(path, congestion)

    async def _linked(self, avoid: Collection[bytes]) -> tuple[Channel, Relay]:
        """The link to our guard, or to the next one when the guard itself is the target (a
        circuit cannot pass a relay twice) or cannot be reached. LinkClosed when none can."""
        known = await self.directory()
        async with self._lock:
            refused = set(avoid)
            while True:
                try:
                    guard = known.choose_path(1, avoid=refused)[0]
                except TorError as error:
                    raise LinkClosed("no guard can be reached") from error
                link = self._links.get(guard.identity.rsa)
                if link is not None and not link.closed.done():
                    return link, guard
                try:
                    self._links[guard.identity.rsa] = link = await self._connect(guard)
                    return link, guard
                except (LinkClosed, RemoteProtocolError):
                    refused.add(guard.identity.rsa)

    async def _connect(self, guard: Relay) -> Channel:
        known = await self.directory()
        parameters = known.consensus.parameters
        span = PaddingRange(
            parameters.get("nf_ito_low", LOW_MS), parameters.get("nf_ito_high", HIGH_MS)
        )
        address, port = guard.addresses[0]
        return await Channel.connect(str(address), port, guard.identity, padding=span)
