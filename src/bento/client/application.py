"""Asking a box for a place: at once, and on a loaded box again, with a pass or with what it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bento.client.door import Pipe, knock
from bento.errors import BusyError
from bento.protocol.conclave import terms_hash
from bento.protocol.door import Create

if TYPE_CHECKING:
    from bento.client.box import BoxName
    from bento.client.patience import Patience
    from bento.client.route import Route
    from bento.client.wallet import Wallet


@dataclass(frozen=True)
class Application:
    """One user's request for an instance at the box `name`.

    A pass is shown for a price only: on an idle box those who have some look like all others."""

    name: BoxName
    wanted: Create
    patience: Patience
    wallet: Wallet | None

    async def enter(self, route: Route, early: bytes) -> tuple[object, Pipe]:
        """(the box's answer, the stream it came through); `early` is for the guest behind it."""
        request = self.wanted
        while True:
            try:
                _, answer, pipe = await knock(route, request, self.name.key_hash, early)
            except BusyError as busy:
                request = await self._again(request, busy)
            else:
                return answer, pipe

    async def _again(self, refused: Create, busy: BusyError) -> Create:
        """What to ask next. Raises `busy` when the user's patience is at its end."""
        wanted = self.wanted
        if refused.shown and busy.wait:  # it is good, but all of its places are taken
            await self.patience.satisfy(busy)
            return refused
        shown = self._pass_for(busy)
        if shown:
            return Create(wanted.manifest, wanted.function, b"", shown)
        if refused.shown:  # it was not good, and there is no other
            return wanted
        solution = await self.patience.satisfy(busy)
        return Create(wanted.manifest, wanted.function, solution, b"")

    def _pass_for(self, busy: BusyError) -> bytes:
        if self.wallet is None:
            return b""
        terms = terms_hash(self.wanted.manifest, self.wanted.function)
        return self.wallet.take(busy.cards, self.name.key, terms)
