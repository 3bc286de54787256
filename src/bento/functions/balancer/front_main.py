# /// bento
# image = "python"
# memory = "96 MiB"
# cpu = 1.0
# pids = 256
# lifetime = "1d"
# spool = "1 MiB"
# relays = true
# tor = ["directory", "guards"]
# boxes = 4
# ///
"""The front as a function: one session begins the service, others look at it.

    serve     takes key, points, content and the replica's code; sends the address once it is reachable
    stand_by  the same, and the ticket of the front that serves: begins to when that one is gone
    lead      beats, for a front that stands by
    retire    lets nobody in any more, and ends when everybody has left: another front serves
    status    what is going on, as JSON
    points    the introduction points with their keys, for the next front of this service
    stop      ends the service

It starts replicas on other boxes through `api.boxes`: they are its children and end with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from bento.errors import BentoError, FunctionError, UsageError
from bento.functions.balancer.countries import Countries
from bento.functions.balancer.elsewhere import OtherBoxes
from bento.functions.balancer.front import Content, Front
from bento.functions.balancer.inside import network_over, opened_control
from bento.functions.balancer.order import Order
from bento.functions.balancer.standby import Shadow, beats, follow, retire_first
from bento.guest.api import Api
from bento.onion import kept
from bento.protocol.ticket import Ticket


def main(api: Api, do: str, **words: Any) -> str | bytes | None:
    """`do` is one of the above; the words are the arguments of the function of that name."""
    if do not in OPERATIONS:
        raise FunctionError(f"there is no {str(do)[:20]!r} in a front", ", ".join(OPERATIONS))
    return OPERATIONS[do](api, **words)


class Running:
    """The service of this instance, as its other sessions reach it."""

    def __init__(self, front: Front, replicas: OtherBoxes) -> None:
        self.front = front
        self.replicas = replicas
        self.stopped = asyncio.Event()
        self.followers = 0
        self._retiring: asyncio.Task[None] | None = None
        self._shadow = Shadow()
        self._cast: tuple[object, float] = None, 0.0  # from what, and when
        self._loop = asyncio.get_running_loop()

    def ask(self, what: Callable[[], Any]) -> Any:
        """In the service's loop, from any other thread."""

        async def run() -> Any:
            return what()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def describe(self) -> dict[str, Any]:
        return self.front.describe() | {"standby": self.followers > 0}

    def shadow(self) -> Shadow:
        """The same for a while unless points or replicas changed: what was seen at the points always does."""
        things = [point.relay for point in self.front.service.points], self.replicas.ends
        before, since = self._cast
        if things != before or time.monotonic() - since > SHADOW_SECONDS:
            self._cast = things, time.monotonic()
            self._shadow = Shadow(bytes(self.front.service.kept_points()), self.replicas.ends)
        return self._shadow

    def retire(self) -> None:
        """Ends when everybody has left."""
        if self._retiring is None:
            self._retiring = asyncio.ensure_future(self._retire())

    async def _retire(self) -> None:
        try:
            await self.front.retire()
        finally:
            self.stopped.set()


MOST_GRACE = 600
"""Seconds: the longest that a standby may be told to wait."""

SHADOW_SECONDS = 30.0
"""After which a standby is told again what was seen at the points: what came since may be replayed to it."""

service: list[Running] = []
_once = threading.Lock()


def serve(api: Api, places: list[str] | None = None, **words: Any) -> None:
    """The words are those of `Order`; replicas go to boxes among `places` only, if these are given. The
    first that is in order is served; then there is no other."""
    _begin(api, _accepted(api, words, places))


def stand_by(api: Api, first: str, grace: float, **words: Any) -> None:
    """Follows the front of the ticket `first`; serves when nothing is heard of it for `grace` seconds. Sends
    a line when it hears of it, and the address when it serves."""
    if not isinstance(grace, int | float) or not 1 <= grace <= MOST_GRACE:
        raise FunctionError(f"a standby waits 1 to {MOST_GRACE} seconds")
    try:
        one = api.boxes.ticket(first)
    except (UsageError, TypeError):
        raise FunctionError("the first front's ticket is none") from None
    order = _accepted(api, words)
    shadow = follow(lambda: one.invoke("lead"), grace, lambda: api.send("stands by\n"))
    if shadow is None:
        api.end()
        return
    threading.Thread(target=retire_first, args=(lambda: one.invoke("retire"),), daemon=True).start()
    _inherit(api, order, shadow)
    _begin(api, order, but=Ticket.parse(first).box.hex().upper())


def _accepted(api: Api, words: dict[str, Any], places: list[str] | None = None) -> Order:
    if _once.locked():
        raise FunctionError("this front has a service already")
    order = Order.read(api, **words)
    if places is not None:
        _narrow(api, places)
    if not _once.acquire(blocking=False):
        raise FunctionError("this front has got a service meanwhile")
    return order


def _narrow(api: Api, places: list[str]) -> None:
    try:
        api.boxes.only(places)
    except (TypeError, ValueError, AttributeError):
        raise FunctionError("the order names places that are none") from None


def _inherit(api: Api, order: Order, shadow: Shadow) -> None:
    """Its visitors stay with the replicas they have, and those who come find the points they know."""
    for line in shadow.ends:
        with contextlib.suppress(BentoError):
            api.boxes.adopt(line)
    with contextlib.suppress(BentoError):
        kept.parse(shadow.points)
        order.points = shadow.points


def _begin(api: Api, order: Order, but: str = "") -> None:
    """Replicas go to the box of the fingerprint `but` only when no other one takes them."""
    try:
        asyncio.run(_serve(api, order, OtherBoxes(api, order.code, order.manifest, [but])))
    finally:
        api.end()


async def _serve(api: Api, order: Order, replicas: OtherBoxes) -> None:
    content = Content(order.kind, order.content)
    async with opened_control() as control, network_over(control) as network:
        regions = Countries(control, network, replicas.boxes)
        front = Front(
            *(order.identity, network, replicas, content, order.options),
            kept_points=order.points,
            regions=regions if order.options.way == "region" else None,
        )
        running = Running(front, replicas)
        try:
            await front.start()
            service.append(running)
            await front.service.published()
            await asyncio.to_thread(api.send, f"{front.address}.onion\n")
            await running.stopped.wait()
        finally:
            await front.close()


def _running() -> Running:
    if not service:
        raise FunctionError("this front does not serve yet")
    return service[0]


def status(api: Api) -> str:
    """What is going on, as JSON."""
    running = _running()
    return json.dumps(running.ask(running.describe))


def points(api: Api) -> bytes:
    """The introduction points, for the next front of this service: secret."""
    running = _running()
    return bytes(running.ask(running.front.service.kept_points))


def lead(api: Api) -> None:
    """Beats for a front that stands by, until this one has been stopped."""
    running = _running()
    running.followers += 1
    try:
        beats(api.send, lambda: running.ask(running.shadow), running.stopped.is_set)
    finally:
        running.followers -= 1


def retire(api: Api) -> None:
    """Another front serves: nobody new comes in here, and it ends with its last visitor."""
    running = _running()
    running.ask(running.retire)


def stop(api: Api) -> None:
    """Ends the service."""
    running = _running()
    running.ask(running.stopped.set)


OPERATIONS: dict[str, Callable[..., str | bytes | None]] = {
    "serve": serve,
    "stand_by": stand_by,
    "lead": lead,
    "retire": retire,
    "status": status,
    "points": points,
    "stop": stop,
}
