"""`bento install FILE`: leaves a function on a box and prints what uses and what ends it."""

from __future__ import annotations

import argparse
import asyncio

from bento.cli import conclave
from bento.cli.calls import read_upload
from bento.cli.output import emit, say
from bento.cli.place import place, place_arguments
from bento.cli.qr import qr_argument, show


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a Python file, or a zip with a __main__.py")
    place_arguments(parser)
    conclave.arguments(parser)
    qr_argument(parser)


def run(args: argparse.Namespace) -> int:
    asyncio.run(_install(args, read_upload(args.file)))
    return 0


async def _install(args: argparse.Namespace, upload: bytes) -> None:
    from datetime import UTC, datetime

    from bento.client.owners import remember
    from bento.face import connect

    async with connect(**place(args)) as box:
        instance = await box.install(upload, conclave.trust(args))
    remember(instance)
    assert instance.shutdown_ticket is not None
    ticket, shutdown = instance.ticket.encode(), instance.shutdown_ticket.encode()
    expires = datetime.fromtimestamp(instance.expires, UTC).isoformat()
    if args.json:
        emit(ticket=ticket, shutdown=shutdown, expires=expires, box=box.name.nickname)
    else:
        say(f"installed on {box.name.nickname} until {expires}")
        say("whoever has the ticket can call the function; the shutdown token ends it:")
        print(ticket)
        print(shutdown)
    if args.qr:
        show(ticket)
