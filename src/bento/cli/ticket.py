"""`bento ticket LINE`: what a ticket, shutdown token or session may do, in plain words; nobody is asked."""

from __future__ import annotations

import argparse

from bento.cli.output import emit, say
from bento.cli.qr import qr_argument, show
from bento.protocol.ticket import parse_any


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "line", metavar="LINE", help="a line that begins with bento1, bentoend1 or bentoses1"
    )
    qr_argument(parser)


def run(args: argparse.Namespace) -> int:
    from bento.cli.tickets import explain, limits_of

    line = parse_any(args.line)
    if args.json:
        function = line.function.hex() if line.function else None
        emit(
            sort=line.NOUN,
            box=line.box.hex().upper(),
            key=line.key.hex(),
            function=function,
            **limits_of(line),
        )
    else:
        for words in explain(line):
            say(words)
    if args.qr:
        show(line.encode())
    return 0
