"""`bento narrow TICKET …`: a weaker ticket, made here: nobody is asked."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bento.cli.output import emit, say
from bento.cli.qr import qr_argument, show
from bento.errors import UsageError
from bento.protocol import limits
from bento.protocol.caveats import OPERATIONS, Bytes, Caveat, Holder, NotAfter, Only, Uses
from bento.protocol.manifest import read_size, read_time
from bento.protocol.ticket import parse_any

if TYPE_CHECKING:
    from collections.abc import Callable

_MINUTE = 60  # ends are told in whole minutes: the box learns no clock of ours to the second


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ticket", metavar="TICKET", help="a ticket, or another line that install printed"
    )
    parser.add_argument("--uses", metavar="N", help="at most N sessions")
    parser.add_argument(
        "--for", dest="time", metavar="TIME", help="only this long: 90s, 10m, 2h, 1d"
    )
    parser.add_argument(
        "--max-bytes",
        metavar="M",
        help='at most this much both ways, 4 KiB a call at least: "1 MiB"',
    )
    parser.add_argument(
        "--op",
        action="append",
        choices=tuple(OPERATIONS),
        help="only this; may be given more than once",
    )
    parser.add_argument(
        "--holder", metavar="KEY", help="only with the key that `bento holder` made"
    )
    qr_argument(parser)


def run(args: argparse.Namespace) -> int:
    from bento.cli.tickets import explain, limits_of

    line = parse_any(args.ticket)
    conditions = _conditions(args)
    if not conditions:
        raise UsageError(
            "nothing to narrow by was given", "give --uses, --for, --max-bytes or --op"
        )
    weaker = line.narrow(*conditions)
    if args.json:
        emit(ticket=weaker.encode(), **limits_of(weaker))
    else:
        for words in explain(weaker):
            say(words)
        print(weaker.encode())
    if args.qr:
        show(weaker.encode())
    return 0


def _conditions(args: argparse.Namespace) -> list[Caveat]:
    """Raises UsageError naming the word that makes no sense."""
    import secrets
    import time

    conditions: list[Caveat] = []
    if args.op:
        conditions.append(Only(sum(OPERATIONS[name] for name in set(args.op))))
    if args.uses is not None:
        conditions.append(Uses(secrets.token_bytes(8), _read(_count, args.uses, "--uses")))
    if args.max_bytes is not None:
        size = _read(read_size, args.max_bytes, "--max-bytes")
        conditions.append(Bytes(secrets.token_bytes(8), size))
    if args.time is not None:
        end = time.time() + _read(read_time, args.time, "--for")
        conditions.append(NotAfter(int(-(-end // _MINUTE) * _MINUTE)))
    if args.holder is not None:
        from bento.client.holders import parse

        conditions.append(Holder(parse(args.holder)))
    return conditions


def _read(reader: Callable[[str], int], word: str, option: str) -> int:
    try:
        return reader(word)
    except ValueError as error:
        raise UsageError(f"{option} {word} makes no sense", str(error)) from None


def _count(word: str) -> int:
    if not word.isascii() or not word.isdigit() or not 1 <= int(word[:9]) <= limits.COUNTED:
        raise ValueError(f"give a whole number from 1 to {limits.COUNTED}")
    return int(word)
