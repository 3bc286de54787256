"""`bento get TICKET`: fetches a file that waits on a box, or its shards on several."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bento.cli import conclave
from bento.cli.output import emit, say, summary
from bento.cli.progress import Bar
from bento.errors import UsageError
from bento.protocol.ticket import Ticket

if TYPE_CHECKING:
    from bento.functions.dropbox.sealing import Content
    from bento.functions.dropbox.sink import Sink
    from bento.functions.shard.ticket import ShardTicket


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ticket", metavar="TICKET")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="default: stdout; on a terminal, its own name in this folder",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="BOX,BOX…",
        help="of a shard ticket: fetch from these boxes only, the first ones first",
    )
    parser.add_argument("--status", action="store_true", help="only say what is left of it")
    conclave.trust_arguments(parser)
    parser.add_argument("--entrance", choices=("circuit", "onion"), help="how to reach the box")


def run(args: argparse.Namespace) -> int:
    from bento.functions.shard.ticket import ShardTicket, is_shard_ticket

    if is_shard_ticket(args.ticket):
        content, found = asyncio.run(_get_shards(args, ShardTicket.parse(args.ticket)))
    else:
        ticket = Ticket.parse(args.ticket)
        if args.status:
            asyncio.run(_status(args, ticket))
            return 0
        content, found = asyncio.run(_get(args, ticket))
    if args.json:
        summary(name=content.name, size=content.size, sha256=content.sha256.hex(), **found)
    else:
        say(f"{content.size} bytes, the very ones that were put: {target(args, content) or '-'}")
    return 0


async def _get_shards(
    args: argparse.Namespace, ticket: ShardTicket
) -> tuple[Content, dict[str, Any]]:
    from bento.cli import shards

    trust = conclave.trust_if(args, ticket.NOUN, enclosed=ticket.enclosed)
    if args.status:
        raise UsageError("a shard ticket has no status", "bento shard repair checks every shard")
    into = args.output.absolute() if args.output else Path.cwd()
    content, problems = await shards.get(
        args, ticket, into, lambda found: _open(args, found), trust
    )
    return content, {"problems": problems}


async def _get(args: argparse.Namespace, ticket: Ticket) -> tuple[Content, dict[str, Any]]:
    from bento.face import connect
    from bento.functions.dropbox.client import Get

    progress = None if args.json else say
    get = Get(ticket, str(args.output.absolute() if args.output else Path.cwd()))
    async with connect(ticket.box.hex(), entrance=args.entrance, progress=progress) as box:
        with Bar("get", quiet=args.json) as bar:
            trust = conclave.trust_of(args, ticket)
            content = await get.run(box, lambda found: _open(args, found), bar.show, trust)
        return content, {"box": box.name.nickname}


def _open(args: argparse.Namespace, content: Content) -> Sink:
    from bento.functions.dropbox.sink import FileSink, StdoutSink

    path = target(args, content)
    if path is None:
        return StdoutSink()
    if path.exists():
        raise UsageError(f"{path} exists", "name another file with -o")
    return FileSink(path)


def target(args: argparse.Namespace, content: Content) -> Path | None:
    """The file it goes to; None for stdout. A sender's name is never more than a name in this folder."""
    if args.output is not None:
        return Path(args.output)
    if not sys.stdout.isatty():
        return None
    name = "".join(c for c in Path(content.name).name if c.isprintable()).lstrip(".")
    return Path(name or "file")


async def _status(args: argparse.Namespace, ticket: Ticket) -> None:
    from datetime import UTC, datetime

    from bento.face import connect
    from bento.functions.dropbox.transfer import status

    async with connect(ticket.box.hex(), entrance=args.entrance) as box:
        said = await status(box.instance(ticket, trust=conclave.trust_of(args, ticket)))
    if args.json:
        emit(**said)
        return
    left = "any number of" if said["gets_left"] is None else said["gets_left"]
    until = datetime.fromtimestamp(said["expires"], UTC).isoformat()
    say(f"{said['stored']} of {said['size']} bytes are there, of a disk of {said['disk']}")
    say(f"{left} gets are left, until {until}; {said['served']} bytes were served")
