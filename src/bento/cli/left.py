"""`bento browse URL --leave-in-dropbox`, `bento browse --from TICKET`: a page that waits for its reader."""

from __future__ import annotations

import argparse
import asyncio
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bento.cli import conclave
from bento.cli.output import emit, say
from bento.cli.put import term
from bento.errors import BoxError, FunctionError, UsageError
from bento.protocol.ticket import Ticket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bento.client.box import Box
    from bento.client.finder import Finder
    from bento.functions.browser.left import Left
    from bento.functions.browser.pack import Pack
    from bento.functions.dropbox.transfer import Rules
    from bento.tor.discovery import RelayEntry

_ASK_AGAIN = 2.0  # seconds, while the page is not there yet
_PATIENCE = 90.0  # seconds: a page's own limit, and the way to its dropbox


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--leave-in-dropbox",
        dest="leave",
        action="store_true",
        help="have the page left, sealed, on another box, and print the ticket it can be fetched by",
    )
    parser.add_argument("--dropbox", metavar="BOX", help="the box it waits on; default: any other")
    parser.add_argument("--gets", metavar="N", type=int, default=1, help="gone after N gets (1)")
    parser.add_argument("--for", dest="seconds", metavar="TIME", default="1d", help="as 2h or 1d")
    parser.add_argument(
        "--from",
        dest="ticket",
        metavar="TICKET",
        help="the page that waits there, instead of a URL",
    )


def run(args: argparse.Namespace) -> int:
    if args.ticket and (args.url or args.leave):
        raise UsageError("--from fetches a page that waits", "leave the address out")
    if conclave.trust(args) is not None:
        raise UsageError("a page is not left or fetched in conclaves", "leave --conclave out")
    return _fetch(args) if args.ticket else _leave(args)


# -- leaving ---------------------------------------------------------------------------------------


def _leave(args: argparse.Namespace) -> int:
    from bento.functions.browser import client
    from bento.functions.dropbox.transfer import Rules

    if args.url is None:
        raise UsageError("there is no address to fetch", "write it as https://HOST/PATH")
    words = client.arguments(args.url, args.padding, args.timing)
    rules = Rules(gets=args.gets, seconds=term("--for", args.seconds))
    left, browser, dropbox = asyncio.run(_begin(args, words, rules))
    assert left.dropbox.shutdown_ticket is not None
    shutdown = left.dropbox.shutdown_ticket.encode()
    expires = datetime.fromtimestamp(left.dropbox.expires, UTC).isoformat()
    if args.json:
        names = {"box": browser, "dropbox": dropbox}
        emit(ticket=left.ticket.encode(), **names, expires=expires, shutdown=shutdown)
        return 0
    say(f"{browser} fetches it and leaves it on {dropbox}, until {expires} or {args.gets} gets")
    say(f"bento shutdown {shutdown} takes it back")
    say("whoever has this ticket can fetch and read it, with bento browse --from:")
    print(left.ticket.encode())
    return 0


async def _begin(
    args: argparse.Namespace, words: dict[str, str], rules: Rules
) -> tuple[Left, str, str]:
    from bento.face import network
    from bento.functions.browser.left import leave

    async with network(progress=None if args.json else say) as net:
        first, second = await _two_boxes(net, args.box, args.dropbox)
        async with (
            await net.box(first, entrance=args.entrance) as browser,
            await net.box(second, entrance=args.entrance) as dropbox,
        ):
            for box in (browser, dropbox):
                _settle(args, box)
            left = await leave(browser, dropbox, words, rules)
            return left, browser.name.nickname, dropbox.name.nickname


def _settle(args: argparse.Namespace, box: Box) -> None:
    box.patience, box.on_wait = args.patience, None if args.json else say


async def _two_boxes(net: Finder, browser: str | None, dropbox: str | None) -> tuple[str, str]:
    """Names for both: as given, or of others at random."""
    entries = await net.boxes()
    first = browser or _another(entries, dropbox)
    return first, dropbox or _another(entries, first)


def _another(entries: Sequence[RelayEntry], than: str | None) -> str:
    taken = (than or "").removesuffix(".onion").removeprefix("$").lower()
    others = [
        entry.fingerprint
        for entry in entries
        if taken
        not in (entry.nickname.lower(), entry.fingerprint.lower(), entry.announcement.onion)
    ]
    if not others:
        raise BoxError("there is no other box", "a page is left on another box than fetches it")
    return secrets.choice(others)


# -- fetching --------------------------------------------------------------------------------------


def _fetch(args: argparse.Namespace) -> int:
    from bento.cli.browse import show_page

    pack, box = asyncio.run(_bring(args, Ticket.parse(args.ticket)))
    show_page(args, pack, "it waited there, sealed", {"box": box})
    return 0


async def _bring(args: argparse.Namespace, ticket: Ticket) -> tuple[Pack, str]:
    from bento.face import network
    from bento.functions.browser.left import bring

    loop = asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE
    async with (
        network(progress=None if args.json else say) as net,
        await net.box(ticket.box.hex(), entrance=args.entrance) as box,
    ):
        while True:
            try:
                return await bring(box, ticket), box.name.nickname
            except FunctionError:
                if loop.time() > deadline:
                    raise
            if not args.json:
                say("the page is not there yet")
            await asyncio.sleep(_ASK_AGAIN)
