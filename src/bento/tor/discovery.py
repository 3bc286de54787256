"""Which relays run a box: read from the full descriptors that a tor of our own fetches.

A client's tor has only microdescriptors, in which there is no ContactInfo. So it is switched to
full descriptors for a moment, told back whatever happens, and what was found is kept on disk.

Invariant: tor is never left switched. The finding itself is pure and stands in `boxes.py`.

On the live network the switch fetches megabytes, and shows the directory servers that this client
is not an ordinary one: callers who mind use a tor of its own for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from bento.errors import TorError
from bento.tor.announcement import Announcement
from bento.tor.boxes import RelayEntry, find_boxes
from bento.tor.consensus import RouterStatus, parse_statuses
from bento.tor.control_codec import Event, quote
from bento.tor.controller import CommandRefused, Controller
from bento.tor.descriptors import parse_descriptors
from bento.tor.relay_cache import exclusively, load, save

__all__ = ["Announcement", "RelayEntry", "discover", "find_boxes"]

_SWITCH = "UseMicrodescriptors"
# Some descriptors never come: with this share of them, wait no longer than _QUIET for more.
_ENOUGH = 0.95
_QUIET = 3.0  # seconds
# Tor asks the next directory server after 10 s at the latest (TestingServerDownloadInitialDelay
# and the live network's alike); so long without a descriptor, there is no more to come.
_PATIENCE = 30.0  # seconds
_POLL = 0.1  # seconds between two looks for the other kind of consensus


async def discover(controller: Controller, cache: Path, max_age: float) -> list[RelayEntry]:
    """The relays that announce a box, by nickname.

    From `cache` if it is younger than `max_age` seconds; else asked anew and kept there.
    Several programs may do this at once: one asks, the others wait for it. No time limit of its
    own. Raises TorError if tor gets no descriptors, HostError if the cache cannot be written."""
    if (found := load(cache, max_age)) is not None:
        return found
    async with exclusively(cache):
        if (found := load(cache, max_age)) is not None:
            return found
        async with _full_descriptors(controller):
            descriptors = parse_descriptors(await _get(controller, "desc/all-recent"))
            statuses = parse_statuses(await _get(controller, "ns/all"))
        found = find_boxes(statuses.values(), descriptors)
        save(cache, found)
        return found


@contextlib.asynccontextmanager
async def _full_descriptors(controller: Controller) -> AsyncIterator[None]:
    """Tor holds the descriptors of nearly all relays inside this."""
    before = (await controller.get_conf(_SWITCH))[0]
    arrivals = _Arrivals()
    subscription = await controller.subscribe({"NEWDESC"}, arrivals.hear)
    try:
        await controller.set_conf({_SWITCH: "0"})
        await _await_descriptors(controller, arrivals)
        yield
    finally:
        # Without waiting, so that being cancelled cannot leave tor switched.
        controller.tell(f"SETCONF {_SWITCH}={quote(before)}")
        await subscription.cancel()


class _Arrivals:
    """Fingerprints of the descriptors that tor has got."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.news = asyncio.Event()

    def hear(self, event: Event) -> None:
        self.known.update(name[1:41] for name in event.positional)
        self.news.set()


async def _await_descriptors(controller: Controller, arrivals: _Arrivals) -> None:
    wanted = {relay.fingerprint for relay in await _running(controller)}
    old = parse_descriptors(await _get(controller, "desc/all-recent"))
    arrivals.known.update(descriptor.fingerprint for descriptor in old)
    while missing := wanted - arrivals.known:
        enough = len(missing) <= (1 - _ENOUGH) * len(wanted)
        arrivals.news.clear()
        try:
            async with asyncio.timeout(_QUIET if enough else _PATIENCE):
                await arrivals.news.wait()
        except TimeoutError:
            if len(missing) == len(wanted):
                raise _nothing_came() from None
            return


async def _running(controller: Controller) -> list[RouterStatus]:
    """Running relays, as soon as tor has a consensus of the kind that it now wants."""
    for _ in range(round(_PATIENCE / _POLL)):
        statuses = parse_statuses(await _get(controller, "ns/all"))
        if running := [relay for relay in statuses.values() if "Running" in relay.flags]:
            return running
        await asyncio.sleep(_POLL)
    raise _nothing_came()


async def _get(controller: Controller, key: str) -> str:
    try:
        return (await controller.get_info(key))[key]
    except CommandRefused:
        return ""  # tor has none yet


def _nothing_came() -> TorError:
    return TorError(
        "tor has not got the relays' descriptors",
        "check that this machine reaches the Tor network",
    )
