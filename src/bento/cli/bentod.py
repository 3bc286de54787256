"""`bentod`: the operator's command."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bento.cli import box_attest
from bento.cli.output import report
from bento.errors import BentoError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bentod", description="A Bento box beside a Tor relay.")
    parser.add_argument(
        "--debug", action="store_true", help="show tracebacks, texts and all: for a box nobody uses"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve until SIGTERM")
    run.add_argument("--config", type=Path, required=True, help="the box's TOML file")
    attest = commands.add_parser("attest", help="write out the evidence that conclaves here have")
    box_attest.arguments(attest)
    args = parser.parse_args(argv)
    try:
        return box_attest.run(args) if args.command == "attest" else _run(args)
    except BentoError as error:
        return report(error, debug=args.debug)


def _run(args: argparse.Namespace) -> int:
    import asyncio

    from bento.box.config import load
    from bento.box.daemon import serve
    from bento.safelog import take_over

    take_over(tracebacks=args.debug)
    asyncio.run(serve(load(args.config)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
