"""`bento pass`: ask an issuer for anonymous passes, keep them, see what is left.

    bento pass request CARD > ask.json      send ask.json to the issuer
    bento pass accept answer.json           what the issuer sent back
    bento pass list

They are used by themselves when a box that honours them asks for a price.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bento.cli.output import emit, say

if TYPE_CHECKING:
    from bento.client.wallet import Wallet


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    asking = actions.add_parser("request", help="make a request for this epoch's passes")
    asking.add_argument("file", metavar="CARD", type=Path, help="the issuer's card")
    accepting = actions.add_parser("accept", help="keep the passes of an issuer's answer")
    accepting.add_argument("file", metavar="FILE", type=Path, help="what the issuer sent back")
    listing = actions.add_parser("list", help="passes that are left")
    for action in (asking, accepting, listing):
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    from bento.client.wallet import Wallet

    with closing(Wallet.at_home()) as wallet:
        _ACTIONS[args.action](args, wallet)
    return 0


def _request(args: argparse.Namespace, wallet: Wallet) -> None:
    from bento.cli.calls import read_small
    from bento.protocol.passes import Card

    card = Card.parse(read_small(args.file))
    ask = wallet.ask(card)
    sys.stdout.buffer.write(ask.encode() + b"\n")
    if not args.json:
        say(
            f"send this output to {card.name}: it asks for {card.uses} passes, and does not show them"
        )


def _accept(args: argparse.Namespace, wallet: Wallet) -> None:
    from bento.cli.calls import read_small
    from bento.protocol.passes import Answer

    count = wallet.accept(Answer.parse(read_small(args.file)))
    if args.json:
        emit(passes=count)
    else:
        say(f"{count} passes are kept, and shown to boxes that honour them when there is a price")


def _list(args: argparse.Namespace, wallet: Wallet) -> None:
    for name, card, left, ends in wallet.passes():
        if args.json:
            emit(issuer=name, card=card, left=left, ends=ends)
        else:
            print(
                f"{name}: {left} left, until {datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M} UTC"
            )


_ACTIONS = {"request": _request, "accept": _accept, "list": _list}
