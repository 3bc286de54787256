"""The tokens of a conclave, whose root is made in here and never leaves.

A box can open the way to a conclave for whomever it likes; what is asked for is done only for the owner,
who uploaded the function, and for holders of what the owner was granted here, as far as they narrowed
it. Uses are counted here as well, so that a box cannot give more of them. Only a conclave's blob holds
this module.
"""

from __future__ import annotations

from os import urandom
from time import time

from bento.errors import BoxError
from bento.protocol import limits
from bento.protocol.capability import Capability
from bento.protocol.caveats import (
    ATTACH,
    INVOKE,
    Asked,
    AtBox,
    Only,
    Runs,
    Uses,
    holder_message,
    judge,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = 32  # bytes


class Inner:
    """`box` and `function` are what the conclave is bound to; `signed(key, proof, message)` is whether
    the proof is the Ed25519 signature."""

    def __init__(
        self, box: bytes, function: bytes, signed: Callable[[bytes, bytes, bytes], bool]
    ) -> None:
        self._box = box
        self._function = function
        self._signed = signed
        self._root = urandom(_ROOT)
        self._name = urandom(limits.CAPABILITY_NAME)
        self._used: dict[bytes, set[bytes]] = {}

    def grant(self) -> bytes:
        """The capability from which every other is narrowed."""
        conditions = (AtBox(self._box), Runs(self._function), Only(INVOKE | ATTACH))
        return Capability.mint(self._root, self._name, *conditions).encode()

    def admit(
        self, data: bytes, proof: bytes, exporter: bytes, operation: int, session: bytes
    ) -> tuple[set[bytes], ...]:
        """Whether a capability allows `operation` on the session of that tag, over the channel of that
        exporter. Where it starts one, the tag is to be put into each of the sets returned: uses.

        Raises BoxError, RemoteProtocolError."""
        token = Capability.parse(data)
        counters = token.counters(self._root) if token.name == self._name else None
        if counters is None:
            raise not_granted()
        message = holder_message(exporter, data, INVOKE | ATTACH, session)
        asked = Asked(
            *(operation, self._box, self._function, time()),
            lambda key: self._signed(key, proof, message),
        )
        judge(token.caveats, asked)
        pairs = zip(token.caveats, counters, strict=True)
        counted = [(item.limit, name) for item, name in pairs if isinstance(item, Uses)]
        used = tuple(self._used.setdefault(name, set()) for _, name in counted)
        for (limit, _), tags in zip(counted, used, strict=True):
            if operation == INVOKE and session not in tags and len(tags) >= limit:
                raise BoxError("the token's uses are spent", "ask its giver for a new one")
        return used


def not_granted() -> BoxError:
    return BoxError(
        "the conclave knows no such token",
        "its box can open the way to it and nothing more: use the whole ticket that install printed",
    )
