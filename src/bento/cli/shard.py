"""`bento shard repair TICKET`: makes lost shards of a file anew, on other boxes."""

from __future__ import annotations

import argparse
import asyncio

from bento.cli import conclave, shards
from bento.cli.output import emit, say
from bento.cli.put import term


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("repair",))
    parser.add_argument("ticket", metavar="TICKET", help="begins with bentoshard1")
    parser.add_argument("--for", dest="seconds", metavar="TIME", default="1d", help="as 2h or 1d")
    conclave.trust_arguments(parser)
    parser.add_argument("--entrance", choices=("circuit", "onion"), help="how to reach the boxes")


def run(args: argparse.Namespace) -> int:
    from bento.functions.dropbox.transfer import Rules
    from bento.functions.shard.ticket import ShardTicket

    ticket = ShardTicket.parse(args.ticket)
    trust = conclave.trust_if(args, ticket.NOUN, enclosed=ticket.enclosed)
    rules = Rules(seconds=term("--for", args.seconds))
    repaired, lost, boxes = asyncio.run(shards.repair(args, ticket, rules, trust))
    if args.json:
        emit(ticket=repaired.encode(), lost=lost, boxes=boxes)
        return 0
    shards.tell(lost)
    if lost:
        say(f"{len(lost)} shards were made anew: all are on {', '.join(boxes)}. The new ticket:")
    else:
        say(f"nothing is lost: the shards are on {', '.join(boxes)}")
    print(repaired.encode())
    return 0
