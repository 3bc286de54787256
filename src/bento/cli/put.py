"""`bento put FILE`: leaves a file on a box, or shards of it on several, and prints the ticket for it."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bento.cli import conclave, shards
from bento.cli.output import emit, say
from bento.cli.place import place, place_arguments
from bento.cli.progress import Bar

if TYPE_CHECKING:
    from bento.functions.dropbox.client import Put
    from bento.protocol.ticket import Ticket


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--gets", metavar="N", type=int, default=0, help="gone after N gets")
    parser.add_argument("--for", dest="seconds", metavar="TIME", default="1d", help="as 2h or 1d")
    parser.add_argument("--max-bytes", metavar="SIZE", help="gone after so much was served")
    parser.add_argument(
        "--padding",
        choices=("x2", "x1.5", "1MB", "7MB", "none"),
        help="the public set of sizes it is padded to, so that a box does not learn its own "
        "(default: none; x2 with --shards)",
    )
    parser.add_argument("--shards", metavar="N", type=int, help="spread it over N boxes")
    parser.add_argument("--need", metavar="K", type=int, help="any K of them bring it back")
    parser.add_argument(
        "--diversity",
        metavar="RULES",
        default="family,network,operator",
        help="what no two boxes of a file's shards may share (default: %(default)s; or none)",
    )
    place_arguments(parser)
    conclave.arguments(parser)


def run(args: argparse.Namespace) -> int:
    from bento.functions.dropbox.client import Put, measure
    from bento.functions.dropbox.transfer import Rules

    rules = Rules(
        gets=_whole(args.gets),
        max_bytes=term("--max-bytes", args.max_bytes) if args.max_bytes else 0,
        seconds=term("--for", args.seconds),
    )
    padding = args.padding or ("none" if args.shards is None else "x2")
    content = measure(args.file, padding)
    if args.shards is not None:
        _check_shards(args)
        asyncio.run(shards.put(args, content, rules))
        return 0
    put = Put(args.file, content, rules, conclave.trust(args))
    ticket, name, disk = asyncio.run(_put(args, put))
    _show(args, put, ticket, name, disk)
    put.forget()
    return 0


def _check_shards(args: argparse.Namespace) -> None:
    from bento.errors import UsageError

    for option, given in (
        ("--gets", args.gets),
        ("--max-bytes", args.max_bytes),
        ("--box", args.box),
    ):
        if given:
            raise UsageError(
                f"{option} makes no sense with --shards",
                "shards are kept until --for is over, on boxes that --diversity chooses",
            )


def _whole(gets: int) -> int:
    from bento.errors import UsageError

    if not 0 <= gets <= 10_000:
        raise UsageError("--gets is a number from 1 to 10000", "leave it out for no such limit")
    return gets


def term(option: str, text: str) -> int:
    """Bytes or (`--for`) seconds. Raises UsageError."""
    from bento.errors import UsageError
    from bento.protocol.manifest import read_size, read_time

    try:
        return (read_time if option == "--for" else read_size)(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} makes no sense", str(error)) from None


async def _put(args: argparse.Namespace, put: Put) -> tuple[Ticket, str, int]:
    from bento.face import connect
    from bento.functions.dropbox.transfer import status

    where = place(args)
    if put.box is not None:
        where["name"] = put.box
        if not args.json:
            say("going on where an earlier put of this file stopped")
    async with connect(**where) as box:
        with Bar("put", quiet=args.json) as bar:
            ticket = await put.run(box, bar.show)
        assert put.instance is not None
        disk = (await status(put.instance)).get("disk", 0)
        return ticket, box.name.nickname, disk if isinstance(disk, int) else 0


def _show(args: argparse.Namespace, put: Put, ticket: Ticket, box: str, disk: int) -> None:
    assert put.instance is not None
    assert put.instance.shutdown_ticket is not None
    expires = datetime.fromtimestamp(put.instance.expires, UTC).isoformat()
    shutdown = put.instance.shutdown_ticket.encode()
    content = put.content
    if args.json:
        emit(
            ticket=ticket.encode(),
            size=content.size,
            sha256=content.sha256.hex(),
            boxes=[box],
            stored=content.sealed_size,
            disk=disk,
            expires=expires,
            shutdown=shutdown,
        )
        return
    gets = f" or {args.gets} gets" if args.gets else ""
    say(f"{content.size} bytes wait on {box} until {expires}{gets}")
    say(f"sealed they take {content.sealed_size} of the {disk} bytes asked for there")
    say(f"bento shutdown {shutdown} takes them back")
    say("whoever has this ticket can fetch and read them:")
    print(ticket.encode())
