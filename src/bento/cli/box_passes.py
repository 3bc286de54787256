"""`bentod pass`: an issuer of anonymous passes, for an operator or a group.

`found` makes keys and a card; `sign` answers one holder's request. Both work on files: the issuer needs no
network, and its folder belongs on a machine of its own.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bento.cli.calls import read_small
from bento.cli.output import emit, say
from bento.errors import UsageError
from bento.protocol.manifest import read_time


def arguments(parser: argparse.ArgumentParser, _: str) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    founding = actions.add_parser(
        "found", help="make an issuer: its keys, and a card for everybody"
    )
    founding.add_argument("folder", metavar="DIR", type=Path, help="the issuer's private folder")
    founding.add_argument("--name", required=True, help="what holders see")
    founding.add_argument("--uses", type=int, default=8, help="passes of a holder in one epoch")
    founding.add_argument("--epoch", default="1d", help="how long passes are good")
    founding.add_argument("--epochs", type=int, default=30, help="how many keys the card has")
    signing = actions.add_parser("sign", help="answer a holder's request")
    signing.add_argument("folder", metavar="DIR", type=Path)
    signing.add_argument("request", metavar="FILE", type=Path)
    signing.add_argument("--holder", required=True, help="whose request it is, for counting")
    for action in (founding, signing):
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    from bento.box import issuer
    from bento.protocol.passes import Ask

    if args.action == "found":
        _found(args)
        return 0
    answer = issuer.Issuer(args.folder).sign(Ask.parse(read_small(args.request)), args.holder)
    sys.stdout.buffer.write(answer.encode() + b"\n")
    if not args.json:
        say(f"signed {len(answer.signatures)} passes for {args.holder}: send them this output")
    return 0


def _found(args: argparse.Namespace) -> None:
    from bento.box import issuer

    try:
        epoch = read_time(args.epoch)
    except ValueError as error:
        raise UsageError(f"--epoch {args.epoch}: {error}") from None
    if not (0 < args.uses <= 1000 and 0 < args.epochs <= 1000 and 0 < len(args.name) <= 64):
        raise UsageError("an issuer has 1 to 1000 uses and epochs, and a name of 1 to 64 letters")
    card = issuer.found(args.folder, args.name, epoch=epoch, epochs=args.epochs, uses=args.uses)
    path = args.folder / issuer.CARD
    if args.json:
        emit(card=card.id, file=str(path), epochs=args.epochs, uses=args.uses)
        return
    say(f"{card.name} can give each holder {card.uses} passes in each of {args.epochs} epochs")
    say("give this card to holders, and to operators who honour it ([[admission.issuers]]):")
    print(path)
