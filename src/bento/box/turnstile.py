"""Who may start an instance now, and for what: decided before anything costly is done.

The box's places are divided into parts: one for everybody, and one for each issuer whose passes the
operator honours. Nobody can be told apart in the part for everybody, so there a place has a price
(see `pricing`); a pass is its holder's price already. Parts do not lend each other places: whoever
fills one keeps nobody out of another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bento.box.parts import EVERYBODY, Part, parts_of
from bento.box.passes import Passes, load_cards
from bento.box.pricing import Churn, Pricing, weight
from bento.box.quotes import Quotes
from bento.errors import BusyError
from bento.protocol.manifest import Manifest
from bento.protocol.passes import Pass
from bento.protocol.puzzle import effort

if TYPE_CHECKING:
    from collections.abc import Callable

    from bento.box.config import Config
    from bento.box.identity import Identity
    from bento.protocol.door import Create

_WAIT = 5  # seconds; instances end earlier than they expire, so nobody knows better
_USUAL = Manifest()


class Turnstile:
    """`parts` are the box's, `taken` tells how many places of one are in use and `promised` how many bytes of
    memory those instances may use."""

    def __init__(
        self,
        parts: dict[str, Part],
        taken: Callable[[str], int],
        promised: Callable[[str], int],
        *,
        priced: bool = True,
        passes: Passes | None = None,
    ) -> None:
        self.pricing = Pricing()
        self._parts = parts
        self._taken = taken
        self._promised = promised
        self._priced = priced
        self._passes = passes
        self._quotes = Quotes()
        self._churn = Churn()

    @classmethod
    def of(
        cls,
        config: Config,
        identity: Identity,
        taken: Callable[[str], int],
        promised: Callable[[str], int],
    ) -> Turnstile:
        """As the operator configured it. Raises UsageError when a card cannot be read."""
        passes = None
        if cards := load_cards(config):
            passes = Passes(config.state / "passes.sqlite", cards, identity.key_digest)
        parts, priced = parts_of(config), config.admission.priced
        return cls(parts, taken, promised, priced=priced, passes=passes)

    def close(self) -> None:
        if self._passes is not None:
            self._passes.close()

    @property
    def price(self) -> int:
        """Hashes asked now for a function with the default manifest."""
        return self._price(_USUAL) if self._priced else 0

    def weight(self, part: str) -> float:
        """The processor share of an instance of `part`, where one of everybody's is 1."""
        return self._parts[part].weight

    def enter(self, request: Create, manifest: Manifest) -> str:
        """The part of the box in which an instance may start at once.

        Raises BusyError with the price, or with the time to wait when no price would do."""
        if request.shown and self._passes is not None:
            shown = self._passes.check(request)
            self._find_place(shown.card, manifest)
            self._passes.spend(shown)
            return shown.card
        self._find_place(EVERYBODY, manifest)
        if self._priced:
            self._charge(request.solution, manifest)
        self._churn.add()
        return EVERYBODY

    def failed(self, request: Create) -> None:
        """The box could not start what was let in: its price was not spent."""
        if request.shown and self._passes is not None:
            self._passes.restore(Pass.parse(request.shown))
        elif request.solution and self._priced:
            self._quotes.restore(request.solution)

    def _find_place(self, part: str, manifest: Manifest) -> None:
        places, taken = self._parts[part], self._taken(part)
        whose = "the box" if part == EVERYBODY else "what the box keeps for such passes"
        if taken >= places.places:
            hint = f"try again in {_WAIT} seconds, or use another box"
            raise BusyError(f"{whose} is full", hint, wait=_WAIT)
        # Where nothing runs, whatever the policy admits may: no part is too small to be used.
        if places.memory is None or not taken:
            return
        if self._promised(part) + manifest.memory > places.memory:
            hint = f"ask for less memory, try again in {_WAIT} seconds, or use another box"
            raise BusyError(f"the memory of {whose} is given out", hint, wait=_WAIT)

    def _charge(self, solution: bytes, manifest: Manifest) -> None:
        price = self._price(manifest)
        if not price or (solution and self._quotes.redeem(solution, weight(manifest))):
            return
        raise BusyError(
            f"the box is busy: starting this function costs {effort(price)} now",
            "ask for a shorter --lifetime, wait, show a pass, or use another box",
            quote=self._quotes.quote(price, weight(manifest)),
        )

    def _price(self, manifest: Manifest) -> int:
        places = self._parts[EVERYBODY].places
        pressure = max(self._taken(EVERYBODY) / places, self._churn.pressure)
        return self.pricing.price(manifest, pressure, places)
