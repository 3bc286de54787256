"""`bento functions`: what comes with Bento, and what the operator of a box sees of it."""

from __future__ import annotations

import argparse

from bento.cli.output import emit


def arguments(parser: argparse.ArgumentParser) -> None:
    """There are none beyond what every command has."""


def run(args: argparse.Namespace) -> int:
    from bento.functions.catalogue import CATALOGUE

    for shipped in CATALOGUE:
        size = len(shipped.upload())
        if args.json:
            emit(
                name=shipped.name,
                hash=shipped.hash,
                size=size,
                manifest=shipped.manifest,
                command=shipped.command,
                does=shipped.does,
                sees=shipped.sees,
            )
            continue
        print(f"{shipped.name}  {shipped.does}")
        print(f"    use it by {shipped.command}")
        print(f"    the box's operator can see {shipped.sees}")
        print(f"    asks for {'; '.join(shipped.manifest.splitlines())}")
        print(f"    {size} bytes, SHA-256 {shipped.hash}")
    return 0
