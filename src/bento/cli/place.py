"""What `run`, `install` and `browse` share: which box a new function goes to, how, and at what price."""

from __future__ import annotations

import argparse
from typing import Any

from bento.cli.output import say
from bento.client.patience import PATIENCE
from bento.protocol.manifest import read_time


def place_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--box", help="nickname, fingerprint or onion address; default: any")
    parser.add_argument("--entrance", choices=("circuit", "onion"), help="how to reach the box")
    parser.add_argument(
        "--patience",
        metavar="SECONDS",
        type=float,
        default=PATIENCE,
        help="most seconds to work and wait for a place on a loaded box (default: %(default)g)",
    )
    parser.add_argument(
        "--lifetime", metavar="TIME", type=time_of, help="e.g. 2m, in place of the manifest's own"
    )


def time_of(text: str) -> int:
    """Seconds, for argparse."""
    try:
        return read_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def place(args: argparse.Namespace) -> dict[str, Any]:
    """The same, as face.connect takes it."""
    return {
        "name": args.box,
        "entrance": args.entrance,
        "patience": args.patience,
        "lifetime": args.lifetime,
        "progress": None if args.json else say,
    }
