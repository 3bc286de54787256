"""`put --shards`, `get` of a shard ticket, `shard repair`: routes, boxes by name, what is said."""

from __future__ import annotations

import argparse
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bento.cli import conclave
from bento.cli.output import emit, say
from bento.cli.progress import Bar
from bento.errors import BoxError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from bento.client.box import Box
    from bento.client.conclave import Trust
    from bento.client.finder import Finder
    from bento.functions.dropbox.sealing import Content
    from bento.functions.dropbox.sink import OpenSink
    from bento.functions.dropbox.transfer import Rules
    from bento.functions.shard.put import Stored
    from bento.functions.shard.ticket import ShardTicket
    from bento.tor.discovery import RelayEntry

    Connect = Callable[[bytes], contextlib.AbstractAsyncContextManager[Box]]


def spread(text: str) -> tuple[str, ...]:
    """The rules of `--diversity`. Raises UsageError."""
    from bento.functions.shard.diversity import RULES

    rules = tuple(rule for rule in text.split(",") if rule and rule != "none")
    if not set(rules) <= set(RULES):
        raise UsageError(
            f"--diversity {text!r} makes no sense", f"some of {','.join(RULES)}, or none"
        )
    return rules


def connecting(network: Finder, entrance: str | None = None) -> Connect:
    """Routes to boxes by fingerprint, each a circuit of its own."""

    @contextlib.asynccontextmanager
    async def connect(fingerprint: bytes) -> AsyncIterator[Box]:
        async with await network.box(fingerprint.hex(), entrance=entrance) as box:
            yield box

    return connect


def names(entries: Sequence[RelayEntry]) -> dict[bytes, str]:
    """Fingerprint -> nickname."""
    return {bytes.fromhex(entry.fingerprint): entry.nickname for entry in entries}


def speak(args: argparse.Namespace) -> Callable[[str], None] | None:
    return None if args.json else say


# -- put -------------------------------------------------------------------------------------------


async def put(args: argparse.Namespace, content: Content, rules: Rules) -> None:
    """`bento put --shards`: stores, shows the ticket, forgets."""
    from bento.face import network
    from bento.functions.dropbox.client import read
    from bento.functions.dropbox.sealing import seal
    from bento.functions.shard.layout import Plan
    from bento.functions.shard.put import ShardPut

    plan = Plan(args.need or default_need(args.shards), args.shards, content.sealed_size)
    trust = conclave.trust(args)
    shard_put = ShardPut(f"{args.file.absolute()} {content}", plan, rules, say, trust)
    key = shard_put.key(content)
    async with network(progress=speak(args)) as net:
        entries = await net.boxes()
        ticket, stored = await shard_put.run(
            key,
            lambda: seal(key, content, read(args.file)),
            connecting(net, args.entrance),
            entries,
            spread(args.diversity),
        )
    _show_put(args, content, ticket, stored, names(entries))
    shard_put.forget()


def default_need(total: int) -> int:
    """More than half: one box less than half may go."""
    return total // 2 + 1


def _show_put(
    args: argparse.Namespace,
    content: Content,
    ticket: ShardTicket,
    stored: dict[int, Stored],
    known: dict[bytes, str],
) -> None:
    boxes = [known.get(shard.box, shard.box.hex()) for shard in ticket.shards]
    ends = [stored[number].shutdown.encode() for number in sorted(stored)]
    until = datetime.fromtimestamp(min(s.expires for s in stored.values()), UTC).isoformat()
    plan = ticket.plan
    if args.json:
        emit(
            ticket=ticket.encode(),
            size=content.size,
            sha256=content.sha256.hex(),
            boxes=boxes,
            stored=plan.shard_size * plan.total,
            expires=until,
            shutdown=ends,
        )
        return
    say(f"{content.size} bytes on {', '.join(boxes)} until {until}; any {plan.need} suffice")
    say(f"each shard takes {plan.shard_size} bytes of the padded, sealed {plan.size}")
    for name, end in zip(boxes, ends, strict=True):
        say(f"bento shutdown {end} takes back the shard on {name}")
    say("whoever has this ticket can fetch and read them:")
    print(ticket.encode())


# -- get -------------------------------------------------------------------------------------------


async def get(
    args: argparse.Namespace,
    ticket: ShardTicket,
    into: Path,
    open_sink: OpenSink,
    trust: Trust | None,
) -> tuple[Content, dict[str, str]]:
    """(what was fetched, box -> what was wrong with it)."""
    import secrets

    from bento.face import network
    from bento.functions.shard.client import ShardGet

    async with network(progress=speak(args)) as net:
        known = names(await net.boxes())
        order = _order(ticket, known, args.source)
        if not args.source:
            secrets.SystemRandom().shuffle(order)
        shard_get = ShardGet(ticket, str(into), trust)
        with Bar("get", quiet=args.json) as bar:
            connect = connecting(net, args.entrance)
            content = await shard_get.run(connect, open_sink, order, bar.show)
    problems = _named(ticket, known, shard_get.problems)
    if not args.json:
        tell(problems)
    return content, problems


def _order(ticket: ShardTicket, known: dict[bytes, str], wanted: str | None) -> list[int]:
    """The shards to fetch: all, or those of the boxes the user named, in that order."""
    if not wanted:
        return list(range(ticket.plan.total))
    places = {known.get(shard.box, "").lower(): n for n, shard in enumerate(ticket.shards)}
    places |= {shard.box.hex(): number for number, shard in enumerate(ticket.shards)}
    words = wanted.lower().split(",")
    strangers = [word for word in words if word not in places]
    if strangers or len(words) < ticket.plan.need:
        raise UsageError(
            f"--from {wanted!r} does not name {ticket.plan.need} boxes that have shards",
            f"they are on {', '.join(known.get(s.box, s.box.hex()) for s in ticket.shards)}",
        )
    return [places[word] for word in words]


def _named(
    ticket: ShardTicket, known: dict[bytes, str], problems: dict[int, str]
) -> dict[str, str]:
    at = {number: ticket.shards[number].box for number in problems}
    return {known.get(at[n], at[n].hex()): problem for n, problem in problems.items()}


def tell(problems: dict[str, str]) -> None:
    for name, problem in problems.items():
        say(f"{name}: {problem}")


# -- repair ----------------------------------------------------------------------------------------


async def repair(
    args: argparse.Namespace, ticket: ShardTicket, rules: Rules, trust: Trust | None
) -> tuple[ShardTicket, dict[str, str], list[str]]:
    """(the ticket for all shards, box -> what was wrong with its shard, where the shards are now)."""
    from bento.face import network
    from bento.functions.shard.client import repair as make_anew

    async with network(progress=speak(args)) as net:
        entries = await net.boxes(refresh=True)
        if not entries:
            raise BoxError("no relay announces any box")
        connect = connecting(net, args.entrance)
        done = await make_anew(ticket, connect, entries, rules, say, trust)
    known = names(entries)
    boxes = [known.get(shard.box, shard.box.hex()) for shard in done.ticket.shards]
    return done.ticket, _named(ticket, known, done.lost), boxes
