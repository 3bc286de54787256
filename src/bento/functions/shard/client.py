"""A shard ticket back into a file, and lost shards made anew.

The key never leaves this machine: boxes give and take fragments of what is sealed. Repair does not even
use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bento.errors import AttestationError, BentoError, BoxError, HostError, RemoteProtocolError
from bento.functions.dropbox.client import NAME
from bento.functions.dropbox.sealing import Content
from bento.functions.dropbox.sink import Receiver
from bento.functions.dropbox.transfer import fetching
from bento.functions.dropbox.unfinished import Unfinished
from bento.home import bento_home

from . import diversity
from .gather import Gathering
from .layout import STRIPE, ShardReader
from .put import Storing
from .vendors import Vendors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from bento.client.conclave import Trust
    from bento.functions.dropbox.client import Progress
    from bento.functions.dropbox.sink import OpenSink
    from bento.functions.dropbox.transfer import Rules
    from bento.tor.discovery import RelayEntry

    from .gather import Connect
    from .ticket import ShardTicket

_CHECKED_AT_ONCE = 4  # shards read at the same time when all are checked


class ShardGet:
    """One file on its way home from many boxes. `problems`: what was wrong with which shard's box."""

    def __init__(self, ticket: ShardTicket, into: str, trust: Trust | None = None) -> None:
        """`trust` is asked where the shards are in conclaves."""
        self._ticket = ticket
        self._trust = trust
        self._unfinished = Unfinished("get", f"{ticket.root.hex()} {ticket.key.hex()} {into}")
        self.problems: dict[int, str] = {}

    async def run(
        self,
        connect: Connect,
        open_sink: OpenSink,
        order: Sequence[int],
        progress: Progress | None = None,
    ) -> Content:
        """Fetches from the shards in `order`, the first ones first; goes on where an earlier one stopped."""
        notes = self._unfinished.read()
        known = Content.from_text(notes["content"]) if "content" in notes else None

        def learned(content: Content) -> None:
            self._unfinished.write(content=content.to_text())

        receiver = Receiver(self._ticket.key, open_sink, learned, progress)
        offset = await asyncio.to_thread(receiver.begin, known)
        first, skip = divmod(offset, STRIPE)
        name = secrets.token_bytes(NAME)
        try:
            async with Gathering(self._ticket, connect, name, order, self._trust) as gathering:
                try:
                    async for stripe in gathering.stripes(first):
                        receiver.take(stripe[skip:])
                        skip = 0
                finally:
                    self.problems = gathering.problems
        finally:
            receiver.close()
        if not receiver.whole:
            raise RemoteProtocolError("the shards hold less than the whole file")
        self._unfinished.forget()
        assert receiver.content is not None
        return receiver.content


@dataclass(frozen=True)
class Repaired:
    """`ticket` is good for all shards; `lost` says what was wrong with which."""

    ticket: ShardTicket
    lost: dict[int, str]


async def repair(
    ticket: ShardTicket,
    connect: Connect,
    entries: Sequence[RelayEntry],
    rules: Rules,
    tell: Callable[[str], None] = lambda _: None,
    trust: Trust | None = None,
) -> Repaired:
    """Reads every shard, and stores those that are gone or wrong anew, unrelated to the rest: on other
    boxes if there are enough, else again on those that lost theirs, and never on one that lied.

    Shards in conclaves are made anew in conclaves that `trust` accepts.

    Raises BoxError when fewer than the needed shards are good, AttestationError when `trust` refused the
    rest or what could replace it."""
    vendors = _vendors(ticket, trust)
    found = await check(ticket, connect, vendors)
    lost = {number: problem.detail for number, problem in found.items()}
    if not lost:
        return Repaired(ticket, lost)
    good = [number for number in range(ticket.plan.total) if number not in lost]
    if len(good) < ticket.plan.need:
        told = "; ".join(f"shard {number}: {problem}" for number, problem in lost.items())
        kind = _kind(found)
        raise kind(f"{len(good)} shards are good, {ticket.plan.need} are needed; {told}")
    held = {ticket.shards[number].box.hex().upper() for number in good}
    taken = [entry for entry in entries if entry.fingerprint in held]
    with _sealed_copy() as path:
        await _fetch_sealed(ticket, connect, good, path, trust)
        storing = Storing(
            *(ticket.plan, lambda: _read(path), rules, sorted(lost), lambda: None, tell),
            vendors=vendors,
        )
        await storing.run(connect, _pool(ticket, found, entries, taken), ticket.rules, taken)
    if storing.root != ticket.root:
        raise RemoteProtocolError("the shards made anew are not those of this file")
    shards = tuple(
        storing.stored[number].ticket if number in lost else shard
        for number, shard in enumerate(ticket.shards)
    )
    return Repaired(replace(ticket, shards=shards), lost)


def _vendors(ticket: ShardTicket, trust: Trust | None) -> Vendors | None:
    if not ticket.enclosed:
        return None
    if trust is None:
        from bento.client.conclave import Trust

        trust = Trust()
    return Vendors(trust, ticket.plan.need, ticket.plan.total)


def _kind(found: dict[int, BentoError]) -> type[BoxError] | type[AttestationError]:
    """Whether it is the trust policy that stands in the way, and nothing else."""
    refused = all(isinstance(error, AttestationError) for error in found.values())
    return AttestationError if refused else BoxError


def _pool(
    ticket: ShardTicket,
    found: dict[int, BentoError],
    entries: Sequence[RelayEntry],
    taken: Sequence[RelayEntry],
) -> list[RelayEntry]:
    """The boxes among which new places are chosen."""

    def without(numbers: Iterable[int]) -> list[RelayEntry]:
        out = {ticket.shards[number].box.hex().upper() for number in numbers}
        return [entry for entry in entries if entry.fingerprint not in out]

    others = without(found)
    try:
        diversity.choose(others, len(found), ticket.rules, taken)
    except BoxError:
        return without(n for n, error in found.items() if isinstance(error, RemoteProtocolError))
    return others


async def check(
    ticket: ShardTicket, connect: Connect, vendors: Vendors | None = None
) -> dict[int, BentoError]:
    """Reads every shard to its end: what is wrong with those that are not as they were stored. A box
    that gave something else than its shard has a RemoteProtocolError. `vendors` learns whose hardware
    holds the good ones."""
    places = asyncio.Semaphore(_CHECKED_AT_ONCE)

    async def one(number: int) -> BentoError | None:
        async with places:
            try:
                await _read_shard(ticket, connect, number, vendors)
            except BentoError as error:
                if vendors is not None:
                    vendors.release(number)
                return error
            except OSError as error:
                return BoxError(f"the connection broke: {error.strerror}")
            return None

    problems = await asyncio.gather(*map(one, range(ticket.plan.total)))
    return {number: problem for number, problem in enumerate(problems) if problem is not None}


async def _read_shard(
    ticket: ShardTicket, connect: Connect, number: int, vendors: Vendors | None
) -> None:
    reader = ShardReader(ticket.plan, number, ticket.root)
    shard = ticket.shards[number]
    size = ticket.plan.shard_size
    trust = vendors.trust(number, judged=False) if vendors is not None else None
    async with (
        connect(shard.box) as box,
        fetching(box.instance(shard, trust=trust), secrets.token_bytes(NAME), 0, size) as pieces,
    ):
        async for piece in pieces:
            for _ in reader.feed(piece):
                pass
    if reader.stripe < ticket.plan.stripes:
        raise RemoteProtocolError("it ended before its shard did")


async def _fetch_sealed(
    ticket: ShardTicket,
    connect: Connect,
    good: Sequence[int],
    path: Path,
    trust: Trust | None,
) -> None:
    name = secrets.token_bytes(NAME)
    with path.open("wb") as file:
        async with Gathering(ticket, connect, name, good, trust) as gathering:
            async for stripe in gathering.stripes():
                file.write(stripe)


@contextlib.contextmanager
def _sealed_copy() -> Iterator[Path]:
    """Room for the sealed file (whose key is not needed here) while its shards are made anew."""
    folder = bento_home() / "unfinished"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"repair-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        yield path
    except OSError as error:
        raise HostError(f"cannot keep the sealed file: {error.strerror}", "make room") from None
    finally:
        path.unlink(missing_ok=True)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(STRIPE):
            yield piece
