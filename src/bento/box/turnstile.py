"""Who may start an instance now, and for what: decided before anything costly is done.

The box's places are divided into parts: one for everybody, and one for each issuer whose passes the
operator honours. Nobody can be told apart in the part for everybody, so there a place has a price
(see `pricing`); a pass is its holder's price already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bento.box.pricing import Churn, Pricing, weight
from bento.box.quotes import Quotes
from bento.errors import BusyError
from bento.protocol.manifest import Manifest
from bento.protocol.puzzle import effort

if TYPE_CHECKING:
    from collections.abc import Callable

    from bento.protocol.door import Create

EVERYBODY = ""
_WAIT = 5  # seconds; instances end earlier than they expire, so nobody knows better
_USUAL = Manifest()


class Turnstile:
    """`places` is the size of the part for everybody, `taken` how much of a part is in use."""

    def __init__(self, places: int, taken: Callable[[str], int], *, priced: bool = True) -> None:
        self.pricing = Pricing()
        self._places = places
        self._taken = taken
        self._priced = priced
        self._quotes = Quotes()
        self._churn = Churn()

    @property
    def price(self) -> int:
        """Hashes asked now for a function with the default manifest."""
        return self.pricing.price(_USUAL, self._pressure()) if self._priced else 0

    def enter(self, request: Create, manifest: Manifest) -> str:
        """The part of the box in which an instance may start at once.

        Raises BusyError with the price, or with the time to wait when no price would do."""
        if self._taken(EVERYBODY) >= self._places:
            raise BusyError(
                "the box is full", f"try again in {_WAIT} seconds, or use another box", wait=_WAIT
            )
        if self._priced:
            self._charge(request.solution, manifest)
        self._churn.add()
        return EVERYBODY

    def failed(self, request: Create) -> None:
        """The box could not start what was let in: its price was not spent."""
        if request.solution and self._priced:
            self._quotes.restore(request.solution)

    def _charge(self, solution: bytes, manifest: Manifest) -> None:
        price = self.pricing.price(manifest, self._pressure())
        if not price or (solution and self._quotes.redeem(solution, weight(manifest))):
            return
        raise BusyError(
            f"the box is busy: starting this function costs {effort(price)} now",
            "ask for a shorter lifetime or less memory, wait, show a pass, or use another box",
            quote=self._quotes.quote(price, weight(manifest)),
        )

    def _pressure(self) -> float:
        return max(self._taken(EVERYBODY) / self._places, self._churn.pressure)
