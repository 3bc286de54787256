"""A file onto many boxes: sealed, coded, hashed, stored; a box that fails is replaced.

The file is read twice: once for the hashes, which stand before each shard's fragments, once for the
fragments. A put that was killed goes on: what a box has of its shard is not sent again.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bento.client.owners import recall, remember
from bento.errors import AttestationError, BentoError, BoxError
from bento.functions.dropbox import transfer
from bento.functions.dropbox.sealing import KEY, derive_key
from bento.functions.dropbox.unfinished import Unfinished
from bento.protocol.ticket import ShutdownTicket, Ticket

from . import diversity
from .layout import Plan, Tree, in_stripes
from .ticket import ShardTicket
from .vendors import Vendors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from bento.client.box import Box
    from bento.client.conclave import Trust
    from bento.client.instance import Instance
    from bento.functions.dropbox.transfer import Rules
    from bento.tor.discovery import RelayEntry

    from .gather import Connect

    Stripes = Callable[[], Iterable[bytes]]
    """The sealed file's bytes, from the first on, as often as it is called."""

_QUEUE = 4  # stripes a slow box may lag behind the quickest before all wait
_ROUNDS = 3  # times that failed boxes are replaced
_ROUNDS_ENCLOSED = 32  # the same for conclaves: only asking a box tells whether it has a right one


@dataclass
class Stored:
    """One shard at its box."""

    ticket: Ticket
    shutdown: ShutdownTicket
    expires: int
    done: bool = False
    vendor: str = ""  # of the conclave it lies in

    def note(self) -> dict[str, Any]:
        return {
            "ticket": self.ticket.encode(),
            "shutdown": self.shutdown.encode(),
            "expires": self.expires,
            "vendor": self.vendor,
        }

    @classmethod
    def of(cls, note: dict[str, Any]) -> Stored:
        return cls(
            Ticket.parse(note["ticket"]),
            ShutdownTicket.parse(note["shutdown"]),
            note["expires"],
            vendor=note.get("vendor", ""),
        )


@dataclass
class Storing:
    """Shards of one sealed file on their way to boxes. `wanted` are the numbers of those to store; `tell`
    hears of each box that failed. With `vendors` they are kept in conclaves."""

    plan: Plan
    stripes: Stripes
    rules: Rules
    wanted: Sequence[int]
    save: Callable[[], None]
    tell: Callable[[str], None]
    stored: dict[int, Stored] = field(default_factory=dict)
    vendors: Vendors | None = None
    root: bytes = b""
    _refusals: int = 0  # boxes whose conclave was refused

    async def run(
        self,
        connect: Connect,
        entries: Sequence[RelayEntry],
        spread: Sequence[str],
        taken: Sequence[RelayEntry] = (),
    ) -> None:
        """Stores every wanted shard on a box of its own. Raises BoxError when boxes run out, and
        AttestationError when it was conclaves that did."""
        try:
            await self._run(connect, entries, spread, taken)
        except BoxError:
            if self.vendors is None or not self._refusals:
                raise
            raise AttestationError(
                self.vendors.lacking(),
                "nothing was uploaded to a box that was refused; bento attest BOX shows each one's "
                "evidence, and the same command goes on later",
            ) from None

    async def _run(
        self,
        connect: Connect,
        entries: Sequence[RelayEntry],
        spread: Sequence[str],
        taken: Sequence[RelayEntry],
    ) -> None:
        tree = await asyncio.to_thread(self._hash)
        self.root = tree.root
        known = {entry.fingerprint: entry for entry in entries}
        failed: set[str] = set()
        for _ in range(_ROUNDS_ENCLOSED if self.vendors else _ROUNDS):
            missing = [number for number in self.wanted if number not in self.stored]
            held = [
                known[name]
                for shard in self.stored.values()
                if (name := shard.ticket.box.hex().upper()) in known
            ]
            free = [entry for entry in entries if entry.fingerprint not in failed]
            chosen = diversity.choose(free, len(missing), spread, (*taken, *held))
            places = dict(zip(missing, chosen, strict=True))
            failed |= await self._round(connect, tree, places)
            if all(number in self.stored and self.stored[number].done for number in self.wanted):
                return
        raise BoxError(
            f"{len(failed)} boxes failed to store their shard", "the same command goes on later"
        )

    def _hash(self) -> Tree:
        tree = Tree(self.plan)
        for stripe in in_stripes(self.stripes()):
            tree.add(self.plan.coder.encode(stripe))
        return tree

    async def _round(self, connect: Connect, tree: Tree, places: dict[int, RelayEntry]) -> set[str]:
        """Every shard not yet done, once. The fingerprints of the boxes that failed."""
        todo = [n for n in self.wanted if n not in self.stored or not self.stored[n].done]
        lanes = {number: Lane() for number in todo}
        tasks = {
            number: asyncio.create_task(
                self._store(connect, number, tree.head(number), lanes[number], places.get(number))
            )
            for number in todo
        }
        try:
            await self._feed(lanes)
            ended = await asyncio.gather(*tasks.values(), return_exceptions=True)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        return self._judge(dict(zip(tasks, ended, strict=True)), places)

    def _judge(
        self, ended: dict[int, BaseException | None], places: dict[int, RelayEntry]
    ) -> set[str]:
        failed = set()
        for number, error in ended.items():
            if error is None:
                continue
            if not isinstance(error, BentoError):
                raise error
            self._refusals += isinstance(error, AttestationError)
            if self.vendors is not None:
                self.vendors.release(number)
            place = places.get(number)
            held = self.stored.pop(number, None)
            fingerprint = place.fingerprint if place else held.ticket.box.hex() if held else "?"
            failed.add(fingerprint.upper())
            self.tell(f"{place.nickname if place else fingerprint}: {error.detail}")
        return failed

    async def _feed(self, lanes: dict[int, Lane]) -> None:
        """Codes each stripe once and gives every lane its fragment."""
        stripes = in_stripes(self.stripes())
        while not all(lane.closed for lane in lanes.values()):
            if not (stripe := await asyncio.to_thread(next, stripes, b"")):
                break
            fragments = await asyncio.to_thread(self.plan.coder.encode, stripe)
            for number, lane in lanes.items():
                await lane.put(fragments[number])
        for lane in lanes.values():
            await lane.put(b"")

    async def _store(
        self, connect: Connect, number: int, head: bytes, lane: Lane, place: RelayEntry | None
    ) -> None:
        try:
            at = bytes.fromhex(place.fingerprint) if place else self.stored[number].ticket.box
            async with connect(at) as box:
                instance = await self._instance(box, number)
                async with aclosing(lane.pieces(head)) as pieces:
                    await transfer.store(instance, self.plan.shard_size, pieces, self.rules)
            self.stored[number].done = True
        finally:
            lane.close()

    async def _instance(self, box: Box, number: int) -> Instance:
        trust = self.vendors.trust(number) if self.vendors is not None else None
        if (held := self.stored.get(number)) is not None:
            return box.instance(held.ticket, recall(held.ticket), trust)
        instance = await transfer.install(box, self.plan.shard_size, self.rules, trust)
        remember(instance)
        assert instance.shutdown_ticket is not None
        self.stored[number] = Stored(
            instance.ticket,
            instance.shutdown_ticket,
            instance.expires,
            vendor=self.vendors.of(number) if self.vendors is not None else "",
        )
        self.save()
        return instance


class Lane:
    """The way of one shard's fragments to its box; once closed it swallows them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUE)
        self.closed = False

    async def put(self, fragment: bytes) -> None:
        if not self.closed:
            await self._queue.put(fragment)

    async def pieces(self, head: bytes) -> AsyncGenerator[bytes, None]:
        yield head
        while fragment := await self._queue.get():
            yield fragment

    def close(self) -> None:
        self.closed = True
        while not self._queue.empty():
            self._queue.get_nowait()


class ShardPut:
    """One file on its way to many boxes; the same file and numbers go on where a killed put stopped."""

    def __init__(
        self,
        of: str,
        plan: Plan,
        rules: Rules,
        tell: Callable[[str], None] = lambda _: None,
        trust: Trust | None = None,
    ) -> None:
        """`of` names the file and its content: nothing else goes on with this put. With `trust` its
        shards are kept in conclaves. Raises UsageError when the trust policy can not be satisfied."""
        self.plan = plan
        self._rules = rules
        self._tell = tell
        self._vendors = Vendors(trust, plan.need, plan.total) if trust is not None else None
        where = " in conclaves" if trust is not None else ""
        self._unfinished = Unfinished("shards", f"{of} {plan} {rules}{where}")
        notes = self._unfinished.read()
        self._secret = bytes.fromhex(notes.get("secret", "")) or secrets.token_bytes(KEY)
        shards = json.loads(notes.get("shards", "{}"))
        self._stored = {int(number): Stored.of(note) for number, note in shards.items()}
        if self._vendors is not None:
            for number, stored in self._stored.items():
                self._vendors.note(number, stored.vendor)

    def key(self, content: Any) -> bytes:
        return derive_key(self._secret, content)

    async def run(
        self,
        key: bytes,
        stripes: Stripes,
        connect: Connect,
        entries: Sequence[RelayEntry],
        spread: Sequence[str],
    ) -> tuple[ShardTicket, dict[int, Stored]]:
        """(the ticket, what is where), once every box has proved that it stored its shard."""
        wanted = range(self.plan.total)
        storing = Storing(
            *(self.plan, stripes, self._rules, wanted, self._save, self._tell),
            *(self._stored, self._vendors),
        )
        await storing.run(connect, entries, spread)
        shards = tuple(self._stored[number].ticket for number in wanted)
        return ShardTicket(self.plan, key, storing.root, shards, tuple(spread)), self._stored

    def forget(self) -> None:
        """The ticket was handed over."""
        self._unfinished.forget()

    def _save(self) -> None:
        shards = {str(number): shard.note() for number, shard in self._stored.items()}
        self._unfinished.write(secret=self._secret.hex(), shards=json.dumps(shards))
