"""`bento shutdown TOKEN`: ends an installed function and everything it kept."""

from __future__ import annotations

import argparse
import asyncio

from bento.cli.output import emit, say
from bento.protocol.ticket import ShutdownTicket


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("token", metavar="TOKEN", help="the shutdown token that install printed")


def run(args: argparse.Namespace) -> int:
    asyncio.run(_shutdown(args, ShutdownTicket.parse(args.token)))
    return 0


async def _shutdown(args: argparse.Namespace, ticket: ShutdownTicket) -> None:
    from bento.face import connect

    async with connect(ticket.box.hex(), progress=None if args.json else say) as box:
        await box.shutdown(ticket)
    if args.json:
        emit(box=box.name.nickname, ended=True)
    else:
        say(f"ended on {box.name.nickname}; nothing of it is left there")
