"""`bento invoke TICKET [ARG…]`: calls an installed function."""

from __future__ import annotations

import argparse
import asyncio

from bento.cli import conclave
from bento.cli.calls import converse, parse_words, show_log
from bento.cli.output import emit, say, summary
from bento.protocol.ticket import Ticket


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ticket", metavar="TICKET")
    parser.add_argument("words", metavar="ARG", nargs="*", help="value, name=value, or @FILE")
    parser.add_argument("--entrance", choices=("circuit", "onion"), help="how to reach the box")
    conclave.trust_arguments(parser)
    parser.add_argument(
        "--detach", action="store_true", help="leave at once and print the session to attach to"
    )


def run(args: argparse.Namespace) -> int:
    ticket = Ticket.parse(args.ticket)
    positional, named = parse_words(args.words)
    asyncio.run(_invoke(args, ticket, positional, named))
    return 0


async def _invoke(
    args: argparse.Namespace, ticket: Ticket, positional: list[object], named: dict[str, object]
) -> None:
    from bento.client.owners import recall
    from bento.face import connect

    progress = None if args.json else say
    async with connect(ticket.box.hex(), entrance=args.entrance, progress=progress) as box:
        instance = box.instance(ticket, recall(ticket), conclave.trust_of(args, ticket))
        session = await instance.invoke(
            *positional, text=True, on_log=None if args.json else show_log, **named
        )
        if args.detach:
            await session.started()
            await session.detach()
            if args.json:
                emit(session=session.name.encode(), box=box.name.nickname)
            else:
                print(session.name.encode())
            return
        size = await converse(session)
    if args.json:
        summary(box=box.name.nickname, bytes=size)
