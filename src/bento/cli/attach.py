"""`bento attach SESSION`: goes on with a session where its last client left."""

from __future__ import annotations

import argparse
import asyncio

from bento.cli import conclave
from bento.cli.calls import converse
from bento.cli.output import say, summary
from bento.protocol.session import ANYWHERE
from bento.protocol.ticket import SessionTicket


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", metavar="SESSION")
    parser.add_argument(
        "--received",
        type=_count,
        metavar="BYTES",
        help="what of the answer there is already (the size of its file); default: go on at the oldest"
        " byte that was not acknowledged",
    )
    conclave.trust_arguments(parser)
    parser.add_argument("--entrance", choices=("circuit", "onion"), help="how to reach the box")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("a number of bytes, such as 1048576")
    return int(text)


def run(args: argparse.Namespace) -> int:
    asyncio.run(_attach(args, SessionTicket.parse(args.session)))
    return 0


async def _attach(args: argparse.Namespace, name: SessionTicket) -> None:
    from bento.face import connect

    progress = None if args.json else say
    async with connect(name.box.hex(), entrance=args.entrance, progress=progress) as box:
        received = ANYWHERE if args.received is None else args.received
        session = await box.attach(name, received, trust=conclave.trust_of(args, name))
        size = await converse(session)
    if args.json:
        summary(box=box.name.nickname, bytes=size)
