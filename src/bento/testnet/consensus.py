"""The first vote, called by hand: when every relay is known, and not a moment before.

Left to itself the authority votes at fixed times of the clock. The first vote would miss a relay
or come seconds late; and a relay or client that asks in vain for a consensus waits longer each
time before it asks again. So:

- until there is a consensus nobody asks for one (`HELD_RELAY`, `HELD_CLIENT`);
- the authority starts with its next vote far away (`far_vote`);
- when all relays have published, its clock of votes (`TestingV3AuthVotingStartOffset`, which tor
  takes at run time) is moved so that a vote is due. Tor catches up at once with every step of it
  that is past already (dirvote_act in tor's dirvote.c): the consensus is out two seconds later.

A saved consensus that lives long enough needs no vote.
"""

from __future__ import annotations

import asyncio
import calendar
import re
import time
from collections.abc import Callable, Collection

from bento.errors import TorError
from bento.testnet.torrc import VOTING_INTERVAL
from bento.tor.controller import Controller

HELD_RELAY = {"FetchServerDescriptors": "0"}
HELD_CLIENT = {"DisableNetwork": "1"}
"""What keeps each from asking for a consensus; reset when there is one."""

_POLL = 0.05  # seconds
_FAR = 250
"""Seconds until the vote of an authority that has just started, unless called before."""
_DUE = 2
"""Seconds from the call to the consensus. Tor looks once a second, and takes only a vote whose
time is still to come when it looks."""
_PATIENCE = 5.0
"""Seconds until a vote that gave no consensus is called again."""

Report = Callable[[int], None]


def far_vote() -> tuple[str, str]:
    """The option with which the authority starts."""
    return _vote_at(time.time() + _FAR)


def _vote_at(when: float) -> tuple[str, str]:
    return "TestingV3AuthVotingStartOffset", str(int(when) % VOTING_INTERVAL)


def suffices(consensus: str, names: Collection[str]) -> bool:
    """Whether this document lists all relays of these names and lives on until the next vote."""
    until = re.search(r"^valid-until (\S+ \S+)$", consensus, re.MULTILINE)
    return (
        until is not None
        and _names(consensus).issuperset(names)
        and _seconds_until(until[1]) > VOTING_INTERVAL
    )


async def is_agreed(authority: Controller, names: Collection[str]) -> bool:
    """The same of the consensus that the authority has."""
    listed = _names(await _info(authority, "ns/all"))
    return listed.issuperset(names) and await _lives_for(authority) > VOTING_INTERVAL


async def all_published(authority: Controller, names: Collection[str], report: Report) -> None:
    """Return when the authority has a descriptor of each; `report` hears of how many it has."""
    while (count := len((await _published(authority)).intersection(names))) < len(names):
        report(count)
        await asyncio.sleep(_POLL)
    report(count)


async def vote(authority: Controller, names: Collection[str]) -> None:
    """Call a vote; return when its consensus is there and lists all."""
    called = -_PATIENCE
    while not await is_agreed(authority, names):
        if time.monotonic() - called >= _PATIENCE:
            await authority.set_conf(dict([_vote_at(time.time() + _DUE)]))
            called = time.monotonic()
        await asyncio.sleep(_POLL)


async def date(tor: Controller) -> str:
    """When the consensus that this tor uses began, as text that sorts; empty if it has none."""
    return await _info(tor, "consensus/valid-after")


async def served(cache: Controller, current: str, names: Collection[str]) -> None:
    """Return when a directory cache has the consensus of that date (or a later one) and both
    kinds of descriptors of all these relays.

    A client that asks a cache in vain waits ten seconds before it asks another.
    """
    keys = [f"{kind}/name/{name}" for name in names for kind in ("md", "desc")]
    while await date(cache) < current or not await _knows(cache, keys):  # noqa: ASYNC110 - tor's
        await asyncio.sleep(_POLL)


async def live(client: Controller) -> None:
    """Return when a client has a live consensus; a saved one that still lives will do."""
    while await _lives_for(client) <= 0:  # noqa: ASYNC110 - tor's state
        await asyncio.sleep(_POLL)


async def _knows(tor: Controller, keys: Collection[str]) -> bool:
    try:
        await tor.get_info(*keys)
    except TorError:
        if tor.closed.done():
            raise
        return False
    return True


async def _lives_for(tor: Controller) -> float:
    """Seconds until the consensus of this tor expires; negative if it has, or has none."""
    until = await _info(tor, "consensus/valid-until")
    return _seconds_until(until) if until else -1


def _seconds_until(date: str) -> float:
    return calendar.timegm(time.strptime(date, "%Y-%m-%d %H:%M:%S")) - time.time()


def _names(entries: str) -> set[str]:
    """The nicknames in a list of relays (dir-spec 3.4.1)."""
    return set(re.findall(r"^r (\S+) ", entries, re.MULTILINE))


async def _published(authority: Controller) -> set[str]:
    descriptors = await _info(authority, "desc/all-recent")
    return set(re.findall(r"^router (\S+) ", descriptors, re.MULTILINE))


async def _info(tor: Controller, key: str) -> str:
    """An answer, or "" where tor refuses because it has nothing yet."""
    try:
        return (await tor.get_info(key))[key]
    except TorError:
        if tor.closed.done():
            raise
        return ""
