"""`bento holder`: a new key that a ticket for you can be bound to; shows its public half."""

from __future__ import annotations

import argparse

from bento.cli.output import emit, say


def arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing to choose: each giver of tickets gets a key of its own."""


def run(args: argparse.Namespace) -> int:
    from bento.client.holders import make

    key = make()
    if args.json:
        emit(holder=key)
        return 0
    say("give this to whoever makes the ticket (bento narrow --holder); the other half stays here:")
    print(key)
    return 0
