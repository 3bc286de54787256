"""`bentod run`: serves until SIGTERM."""

from __future__ import annotations

import argparse
import contextlib
import threading
from typing import TYPE_CHECKING

from bento.errors import HostError
from bento.guest import blob

if TYPE_CHECKING:
    from collections.abc import Iterator


def arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Nothing but what all commands have."""


def run(args: argparse.Namespace) -> int:
    with _guest_being_made():
        import asyncio

        from bento.box.config import load
        from bento.box.daemon import serve
        from bento.safelog import take_over

        take_over(tracebacks=args.debug)
        config = load(args.config)
    asyncio.run(serve(config))
    return 0


@contextlib.contextmanager
def _guest_being_made() -> Iterator[None]:
    """The guest is compiled by another process: meanwhile this one loads all that it needs."""

    def make() -> None:
        with contextlib.suppress(HostError):  # told when a sandbox is asked for
            blob.build()

    maker = threading.Thread(target=make)
    maker.start()
    try:
        yield
    finally:
        maker.join()
