"""The part at home: gives a front on some box its key, the content and the replica's code, and looks at
it from time to time. The service needs nobody at home: it goes on without, until its lifetime ends."""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bento.client.owners import remember
from bento.errors import BentoError, BoxError, RemoteProtocolError
from bento.functions.balancer import upload
from bento.onion.blinding import OnionIdentity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bento.client.box import Box
    from bento.client.conclave import Trust
    from bento.client.instance import Instance
    from bento.client.session import Session
    from bento.functions.balancer.fleet import Options
    from bento.tor.boxes import RelayEntry

MAX_ANSWER = 17 << 20
MAX_PLACES = 100  # boxes that a conclave's front is told of
_LONGEST_LINE = 64


@dataclass(frozen=True)
class Plan:
    """What is to be served, and how. `key`: an `hs_ed25519_secret_key` file; `points`: what an earlier
    front of this key gave, or empty. `lifetime` in seconds."""

    key: bytes = field(repr=False)
    points: bytes = field(repr=False)
    kind: int
    content: bytes = field(repr=False)
    options: Options
    lifetime: int

    @property
    def address(self) -> str:
        return f"{OnionIdentity.from_c_tor_file(self.key).address}.onion"


@dataclass
class Service:
    """A front that serves. `session` is the one that began it."""

    address: str
    front: Instance
    session: Session = field(repr=False)


async def begin(
    box: Box, plan: Plan, trust: Trust | None = None, known: Sequence[RelayEntry] = ()
) -> Service:
    """A front on this box, given all it needs; in a conclave that `trust` accepts, before it gets anything.
    That one is told which boxes are `known` here, by which keys: its own box could say what it likes.
    Raises PolicyError, BoxError, AttestationError."""
    places = None if trust is None else _places(known)
    return await _told(box, plan, "serve", plan.options.most, trust, places=places)


async def stand_by(box: Box, plan: Plan, first: Instance, grace: float) -> Service:
    """A front that begins when `first` was silent for `grace` seconds. It may keep the replicas that it
    takes over beside its own. Raises PolicyError, BoxError."""
    service = await _told(
        box, plan, "stand_by", 2 * plan.options.most, first=first.ticket.encode(), grace=grace
    )
    await _line(service, "stands by")
    return service


async def _told(
    box: Box, plan: Plan, do: str, boxes: int, trust: Trust | None = None, **words: Any
) -> Service:
    code, replica = upload.build(upload.FRONT), upload.build(upload.REPLICA)
    terms = upload.front_terms(code, plan.content, boxes, plan.lifetime)
    front = await box.install(code, trust, manifest=terms)
    remember(front)
    try:
        session = await front.invoke(
            do,
            kind=plan.kind,
            points=len(plan.points),
            content=len(plan.content),
            code=len(replica),
            manifest=upload.replica_terms(replica, plan.kind, plan.content, plan.lifetime),
            **asdict(plan.options),
            **words,
        )
        await session.send(plan.key + plan.points + plan.content + replica)
        await session.close_input()
    except BaseException:
        with contextlib.suppress(BentoError, OSError):
            await front.shutdown()
        raise
    return Service(plan.address, front, session)


def _places(known: Sequence[RelayEntry]) -> list[str]:
    some = random.SystemRandom().sample(known, min(len(known), MAX_PLACES))
    return [f"{one.nickname} {one.fingerprint} {one.announcement.key}" for one in some]


async def published(service: Service) -> None:
    """Until visitors can find it. Raises FunctionError, BoxError when that comes to nothing."""
    await _line(service, service.address)


async def _line(service: Service, expected: str) -> None:
    said = b""
    async for piece in service.session:
        said += piece
        if said.endswith(b"\n") or len(said) > _LONGEST_LINE:
            break
    if said.decode("ascii", errors="replace").strip() != expected:
        raise RemoteProtocolError("the front serves something else than it was told to")


async def status(front: Instance) -> dict[str, Any]:
    """What the front says of itself: its word."""
    try:
        said = json.loads(await _answer(await front.invoke("status")))
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("replicas"), list):
        raise RemoteProtocolError("the front does not describe its service")
    return said


async def points(front: Instance) -> bytes:
    """Its introduction points with their keys, for `Plan.points` of the next front. Keep them secret."""
    return await _answer(await front.invoke("points"))


async def stop(front: Instance) -> None:
    """Ends the service and its replicas."""
    await _answer(await front.invoke("stop"))


async def _answer(session: Session) -> bytes:
    async with session:
        held = bytearray()
        async for piece in session:
            held += piece
            if len(held) > MAX_ANSWER:
                raise BoxError("the front says more than it should")
        return bytes(held)
