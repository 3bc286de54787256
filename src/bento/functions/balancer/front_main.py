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
    status    what is going on, as JSON
    points    the introduction points with their keys, for the next front of this service
    stop      ends the service

It starts replicas on other boxes through `api.boxes`: they are its children and end with it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bento.errors import BoxError, FunctionError
from bento.functions.balancer.fleet import Options
from bento.functions.balancer.front import Content, Front
from bento.functions.balancer.inside import BlockingChannel, opened_network, read_exactly
from bento.functions.balancer.messages import MAX_CONTENT
from bento.functions.balancer.replica import Channel
from bento.functions.balancer.site import parse
from bento.guest.api import Api
from bento.onion.blinding import OnionIdentity

KEY_BYTES = 96
"""An `hs_ed25519_secret_key` file of C-tor's."""

MAX_POINTS, MAX_CODE = 16 << 20, 4 << 20


def main(api: Api, do: str, **words: Any) -> str | bytes | None:
    """`do` is one of the above; the words are the arguments of the function of that name."""
    if do not in OPERATIONS:
        raise FunctionError(f"there is no {str(do)[:20]!r} in a front", ", ".join(OPERATIONS))
    return OPERATIONS[do](api, **words)


class Running:
    """The service of this instance, as its other sessions reach it."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def ask(self, what: Callable[[], Any]) -> Any:
        """In the service's loop, from any other thread."""

        async def run() -> Any:
            return what()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()


class OtherBoxes:
    """Of `front.StartReplica`: a replica on one box after the other, this one's own last."""

    def __init__(self, api: Api, code: bytes, manifest: str) -> None:
        self._api = api
        self._code = code
        self._manifest = manifest
        self._threads = ThreadPoolExecutor(8)
        self._turn = itertools.count(random.randrange(1 << 16))  # noqa: S311

    async def __call__(self, number: int) -> Channel:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._install)

    def _install(self) -> Channel:
        boxes = self._api.boxes
        places = sorted(boxes.list(), key=lambda place: place.fingerprint)
        if not places:
            raise BoxError("this box knows no other boxes")
        failure: BoxError | None = None
        turn = next(self._turn)
        for offset in range(min(len(places), 3)):
            place = places[(turn + offset) % len(places)]
            try:
                return _begun(boxes.install(self._code, place, manifest=self._manifest))
            except BoxError as error:
                failure = error
        raise failure or BoxError("no box took a replica")


def _begun(child: Any) -> Channel:
    """Raises BoxError, and then leaves no child: one that nobody ends is renewed for ever, and keeps a
    place that the next replica needs."""
    try:
        call = child.invoke()
    except BaseException:
        child.__exit__()
        raise
    return BlockingChannel(call.recv, call.send, partial(_end, child, call))


def _end(child: Any, call: Any) -> None:
    call.close()
    child.__exit__()


service: list[Running] = []
_once = threading.Lock()


def serve(api: Api, places: list[str] | None = None, **words: Any) -> None:
    """The words are those of `Order`; replicas go to boxes among `places` only, if these are given."""
    if places is not None:
        api.boxes.only(places)
    _begin(api, Order.read(api, **words))


@dataclass
class Order:
    """What a front is given to serve. `manifest` is what replicas are installed under."""

    kind: int
    key: bytes = field(repr=False)
    points: bytes = field(repr=False)
    content: bytes = field(repr=False)
    code: bytes = field(repr=False)
    manifest: str
    options: Options

    @classmethod
    def read(
        cls,
        api: Api,
        kind: int,
        points: int,
        content: int,
        code: int,
        manifest: str,
        **options: Any,
    ) -> Order:
        """The input is the key, then so many bytes of kept points (0: none), of content of this `kind`,
        and of the replica's code."""
        if not (0 <= points <= MAX_POINTS and 0 <= content <= MAX_CONTENT and 0 < code <= MAX_CODE):
            raise FunctionError("the service is too large")
        if not _once.acquire(blocking=False):
            raise FunctionError("this front has a service already")
        sizes = (KEY_BYTES, points, content, code)
        key, kept, shown, program = (read_exactly(api, size) for size in sizes)
        parse(kind, shown)
        return cls(kind, key, kept, shown, program, manifest, Options(**options))


def _begin(api: Api, order: Order) -> None:
    try:
        asyncio.run(_serve(api, order))
    finally:
        api.end()


async def _serve(api: Api, order: Order) -> None:
    identity = OnionIdentity.from_c_tor_file(order.key)
    start = OtherBoxes(api, order.code, order.manifest)
    content = Content(order.kind, order.content)
    async with opened_network() as network:
        front = Front(identity, network, start, content, order.options, kept_points=order.points)
        running = Running(front)
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
    return json.dumps(running.ask(running.front.describe))


def points(api: Api) -> bytes:
    """The introduction points, for the next front of this service: secret."""
    running = _running()
    return bytes(running.ask(running.front.service.kept_points))


def stop(api: Api) -> None:
    """Ends the service."""
    running = _running()
    running.ask(running.stopped.set)


OPERATIONS: dict[str, Callable[..., str | bytes | None]] = {
    "serve": serve,
    "status": status,
    "points": points,
    "stop": stop,
}
