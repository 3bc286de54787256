"""Paths for circuits, from what a running tor knows: its consensus, its guards, the families.

The choice itself is pure and stands in `path.py`; here is only the asking.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Iterable

from bento.errors import TorError
from bento.tor.consensus import (
    BandwidthWeights,
    Family,
    Network,
    RouterStatus,
    parse_bandwidth_weights,
    parse_family,
    parse_statuses,
    related,
)
from bento.tor.controller import CommandRefused, Controller
from bento.tor.path import PathChooser, parse_guards

# A consensus is fresh for an hour (dir-spec 1.4); relays of an older view still work for two more.
_MAX_AGE = 600.0  # seconds
_CONSENSUS_WAIT, _POLL = 10.0, 0.1  # seconds
_CONSENSUS = "dir/status-vote/current/consensus-microdesc"


class PathPlanner:
    """Plans three-hop paths for circuits of the tor behind `controller`.

    `distinct_subnets` None: as tor's own option EnforceDistinctSubnets says, which is off in
    test networks."""

    def __init__(
        self,
        controller: Controller,
        *,
        distinct_subnets: bool | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._controller = controller
        self._distinct_subnets = distinct_subnets
        self._rng = rng
        self._chooser: PathChooser | None = None
        self._families: dict[str, Family] = {}
        self._seen_at = 0.0
        self._looking = asyncio.Lock()

    async def plan(
        self, last: str, *, avoided: Collection[str] = (), bad_guards: Collection[str] = ()
    ) -> tuple[str, str, str]:
        """Fingerprints of guard, middle and `last`.

        `avoided` middles and `bad_guards` are taken again only if there is no other.
        Raises TorError if `last` is not running, or no path to it exists."""
        chooser = await self._look(last)
        end = chooser.relay(last)
        guard = await self._guard(chooser, end, bad_guards)
        banned: set[str] = set()
        while True:
            middle = chooser.middle([guard, end], banned=banned, avoided=avoided)
            if not await self._any_related(middle, [guard, end]):
                return guard.fingerprint, middle.fingerprint, end.fingerprint
            banned.add(middle.fingerprint)

    async def _guard(
        self, chooser: PathChooser, end: RouterStatus, bad: Collection[str]
    ) -> RouterStatus:
        names = parse_guards((await self._controller.get_info("entry-guards"))["entry-guards"])
        guards = chooser.guards(names, end)
        preferred = [guard for guard in guards if guard.fingerprint not in bad]
        for guard in preferred or guards:
            if not await self._any_related(guard, [end]):
                return guard
        raise TorError("tor has no guard that works", "check that this machine reaches the network")

    async def _look(self, last: str) -> PathChooser:
        """The network of ten minutes ago at most; of now, if `last` was not in it then."""
        async with self._looking:
            fresh = time.monotonic() - self._seen_at < _MAX_AGE
            if self._chooser is not None and fresh and self._chooser.knows(last):
                return self._chooser
            statuses = await self._statuses()
            if self._distinct_subnets is None:
                values = await self._controller.get_conf("EnforceDistinctSubnets")
                self._distinct_subnets = values != ["0"]
            network = Network(statuses, await self._weights())
            self._chooser = PathChooser(
                network, distinct_subnets=self._distinct_subnets, rng=self._rng
            )
            self._families.clear()
            self._seen_at = time.monotonic()
            return self._chooser

    async def _statuses(self) -> dict[str, RouterStatus]:
        """The consensus; tor may be about to get its first one, or one of another kind."""
        for _ in range(round(_CONSENSUS_WAIT / _POLL)):
            if statuses := parse_statuses((await self._controller.get_info("ns/all"))["ns/all"]):
                return statuses
            await asyncio.sleep(_POLL)
        raise TorError("tor has no consensus yet", "wait until it has bootstrapped")

    async def _weights(self) -> BandwidthWeights:
        try:
            consensus = (await self._controller.get_info(_CONSENSUS))[_CONSENSUS]
        except CommandRefused:
            return BandwidthWeights()  # tor has not kept the text: every kind of relay alike
        return parse_bandwidth_weights(consensus)

    async def _any_related(self, relay: RouterStatus, others: Iterable[RouterStatus]) -> bool:
        family = await self._family(relay)
        return any([related(family, await self._family(other)) for other in others])

    async def _family(self, relay: RouterStatus) -> Family:
        if relay.fingerprint not in self._families:
            descriptor = await self._descriptor(relay.fingerprint)
            self._families[relay.fingerprint] = parse_family(relay, descriptor)
        return self._families[relay.fingerprint]

    async def _descriptor(self, fingerprint: str) -> str:
        """Whichever kind this tor uses; nothing if it has none (it then refuses the path too)."""
        for kind in ("md/id", "desc/id"):
            key = f"{kind}/{fingerprint}"
            try:
                return (await self._controller.get_info(key))[key]
            except CommandRefused:
                continue
        return ""
