"""Keeps the collateral that a box staples fresh: fetched daily, verified, then kept.

Only collateral under which this platform's own evidence verifies takes the place of what is there:
whoever answers in the service's name can keep the box from news, and the log says so, but not make it
staple something else. The box asks and not its clients, whose interest would be known otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from bento.conclave import kds, pccs
from bento.conclave.appraise import Roots, appraise
from bento.conclave.claims import REPORT_DATA_SIZE, Kind
from bento.conclave.evidence import Evidence
from bento.errors import AttestationError, HostError
from bento.safelog import Event, Fault, log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bento.conclave.collateral import CollateralStore

    Fetch = Callable[[str], Awaitable[pccs.Answer]]

_DAY = 86400
_HOUR = 3600
WARN_BEFORE = 7 * _DAY  # seconds before the first piece of collateral ends

SERVICES = {Kind.TDX: pccs.INTEL, Kind.SNP: kds.AMD}
"""The vendors' own, of each platform whose collateral can be fetched."""
_QUOTE = {
    Kind.TDX: "quote",
    Kind.SNP: "report",
}  # what their evidence calls the platform's own word


class Refresher:
    """`quote` gives this platform's quote (SNP: report) about 64 bytes; `service` is the base URL, "" to
    fetch nothing and only watch what the operator puts there."""

    def __init__(
        self,
        kind: Kind,
        quote: Callable[[bytes], bytes],
        store: CollateralStore,
        service: str,
        fetch: Fetch,
        roots: Roots | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kind, self._quote, self._store = kind, quote, store
        self._service, self._fetch, self._roots, self._clock = service, fetch, roots, clock

    async def keep(self) -> None:
        """Looks every hour, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_HOUR)

    async def look(self) -> None:
        """Fetches if it is time; says in the log what failed and what is about to end."""
        if self._service and self._store.due(self._kind, int(self._clock())):
            try:
                await self.refresh()
                log(Event.COLLATERAL_RENEWED)
            except (HostError, AttestationError) as error:
                log(Event.COLLATERAL_FAILED, fault=Fault.of(error))
        try:
            left = self._store.window(self._kind)[1] - int(self._clock())
        except (HostError, AttestationError) as error:
            log(Event.NO_COLLATERAL, fault=Fault.of(error))
            return
        if left < WARN_BEFORE:
            log(Event.COLLATERAL_ENDS, days=max(0, left // _DAY))

    async def refresh(self) -> None:
        """New collateral in the place of the old. Raises HostError or AttestationError; the old stays
        then."""
        quote = await asyncio.to_thread(self._quote, bytes(REPORT_DATA_SIZE))
        parts = await self._parts(quote)
        evidence = Evidence(self._kind, {_QUOTE[self._kind]: quote, **parts})
        appraise(evidence, now=int(self._clock()), roots=self._roots)
        self._store.put(self._kind, parts)

    async def _parts(self, quote: bytes) -> dict[str, bytes]:
        if self._kind is Kind.TDX:
            return pccs.assemble(
                await self._answers(pccs.questions(self._service, self._kind, quote))
            )
        *others, last = kds.questions(self._service, quote)
        for other in others:
            with contextlib.suppress(HostError):  # it knows no such chip of that kind
                return kds.assemble(await self._answers(other))
        return kds.assemble(await self._answers(last))

    async def _answers(self, asked: dict[str, str]) -> dict[str, pccs.Answer]:
        return {name: await self._fetch(url) for name, url in asked.items()}
