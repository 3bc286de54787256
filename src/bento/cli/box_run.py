"""`bentod run`: serves until SIGTERM."""

from __future__ import annotations

import argparse


def arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Nothing but what all commands have."""


def run(args: argparse.Namespace) -> int:
    import asyncio

    from bento.box.config import load
    from bento.box.daemon import serve
    from bento.safelog import take_over

    take_over(tracebacks=args.debug)
    asyncio.run(serve(load(args.config)))
    return 0
