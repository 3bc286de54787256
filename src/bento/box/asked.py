"""How much a child takes up: what the box of its parent judges, and the box of its own holds it to.

Of a function in the open its parent's box reads the manifest itself. A conclave's is sealed from it, so
these numbers are said to both boxes beside it: the one counts them, the other lets no more pass.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field, fields
from typing import TYPE_CHECKING, Self

from bento.errors import PolicyError, RemoteProtocolError
from bento.protocol.door import Create, Open, Seal
from bento.protocol.manifest import Manifest

if TYPE_CHECKING:
    from bento.protocol.capability import Capability
    from bento.protocol.door import Request


@dataclass(frozen=True)
class Asked:
    """Places (its own and its children's), seconds of lifetime and of a lease (0: it has none)."""

    places: int
    lifetime: int
    lease: int

    @classmethod
    def by(cls, manifest: Manifest) -> Self:
        return cls(1 + manifest.boxes, manifest.lifetime, manifest.lease)

    @classmethod
    def within(cls, sealed: Seal) -> Self | None:
        """None where no child begins."""
        return cls(sealed.places, sealed.lifetime, sealed.lease) if sealed.places else None


@dataclass(frozen=True)
class Carried:
    """What another box carried here sealed: what was said of it, and the token that will end what begins."""

    seal: Seal
    reserved: Capability | None = field(repr=False)


def hold_to(sealed: Seal, request: Request) -> None:
    """What came sealed is no more than was said of it. Raises PolicyError, RemoteProtocolError."""
    said = Asked.within(sealed)
    if isinstance(request, Open) and said is None:
        return
    if not isinstance(request, Create) or said is None:
        raise RemoteProtocolError("what came sealed is not what was said of it")
    asked = Asked.by(Manifest.parse(request.manifest))
    pairs = zip(fields(asked), astuple(asked), astuple(said), strict=True)
    beyond = [f"{one.name} {wanted}, not {most}" for one, wanted, most in pairs if wanted > most]
    if not asked.lease:
        beyond.append("no lease")
    if beyond:
        raise PolicyError(
            "the child asks for more than was said of it in the open: " + "; ".join(beyond)
        )
