# /// bento
# image = "python"
# memory = "96 MiB"
# cpu = 0.25
# pids = 64
# lifetime = "1d"
# spool = "1 MiB"
# tor = ["directory", "events", "onion-services=1", "onion-keys", "onion-fetch=60", "onion-publish=60"]
# ///
"""The merging front as a function: one session begins the service, others look at it.

    serve     takes the key and the instances' addresses; sends the service's once it is published
    status    what is going on, as JSON
    points    nothing: the introduction points are the instances'
    stop      ends it

It needs no connections of its own: all of it is commands to the box's tor, through the Stem firewall.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

from bento.errors import FunctionError, TorError
from bento.functions.balancer.inside import CONTROL, read_exactly
from bento.functions.balancer.merged import LOOK_SECONDS, MergedFront
from bento.functions.balancer.merging import addresses_of
from bento.guest.api import Api
from bento.onion.blinding import OnionIdentity
from bento.tor.controller import Controller

KEY_BYTES = 96
"""An `hs_ed25519_secret_key` file of C-tor's."""

LEAST_SECONDS = 1.1
"""For each look at an instance: the manifest asks for 60 a minute."""

AGAIN_SECONDS = 5.0
"""Between two connections to tor: it may be starting again."""

_once = threading.Lock()
service: list[tuple[MergedFront, asyncio.AbstractEventLoop, asyncio.Event]] = []


def main(api: Api, do: str, **words: Any) -> str | bytes | None:
    """`do` is one of the above; the words are the arguments of the function of that name."""
    if do not in OPERATIONS:
        raise FunctionError(f"there is no {str(do)[:20]!r} in a front", ", ".join(OPERATIONS))
    return OPERATIONS[do](api, **words)


def serve(api: Api, instances: str, every: float = LOOK_SECONDS) -> None:
    """`instances`: their addresses, with spaces between; the input is the service's key."""
    addresses = addresses_of(instances.split())
    identity = OnionIdentity.from_c_tor_file(read_exactly(api, KEY_BYTES))
    if not _once.acquire(blocking=False):
        raise FunctionError("this front has a service already")
    front = MergedFront(identity, addresses, every=max(every, LEAST_SECONDS * len(addresses)))
    try:
        asyncio.run(_serve(api, front))
    finally:
        api.end()


async def _serve(api: Api, front: MergedFront) -> None:
    stopped = asyncio.Event()
    service.append((front, asyncio.get_running_loop(), stopped))
    running = asyncio.ensure_future(_run(front))
    said = asyncio.ensure_future(_say(api, front))
    try:
        ends = asyncio.ensure_future(stopped.wait())
        await asyncio.wait({running, ends}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (running, said):
            task.cancel()
        await asyncio.gather(running, said, return_exceptions=True)
    if not stopped.is_set():
        running.result()


async def _say(api: Api, front: MergedFront) -> None:
    await front.published.wait()
    await asyncio.to_thread(api.send, f"{front.address}.onion\n")


async def _run(front: MergedFront) -> None:
    """A tor that is away comes back; one that refuses at the first time is no use."""
    while True:
        try:
            async with await Controller.connect(CONTROL) as control:
                await control.authenticate()
                await front.run(control)
        except TorError:
            if not front.published.is_set():
                raise
        await asyncio.sleep(AGAIN_SECONDS)


def status(api: Api) -> str:
    """What is going on, as JSON."""
    front, loop, _ = _running()

    async def ask() -> dict[str, Any]:
        return front.describe()

    return json.dumps(asyncio.run_coroutine_threadsafe(ask(), loop).result())


def points(api: Api) -> bytes:
    """A merged service keeps none."""
    return b""


def stop(api: Api) -> None:
    """Ends the service; its descriptor is found for three hours more."""
    _, loop, stopped = _running()
    loop.call_soon_threadsafe(stopped.set)


def _running() -> tuple[MergedFront, asyncio.AbstractEventLoop, asyncio.Event]:
    if not service:
        raise FunctionError("this front does not serve yet")
    return service[0]


OPERATIONS: dict[str, Callable[..., str | bytes | None]] = {
    "serve": serve,
    "status": status,
    "points": points,
    "stop": stop,
}
