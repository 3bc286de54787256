"""`bento run FILE [ARG…]`: the whole life of a function in one command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from bento.cli import conclave
from bento.cli.calls import converse, parse_words, read_upload, show_log
from bento.cli.output import say, summary
from bento.cli.place import place, place_arguments
from bento.errors import BoxError, UsageError

if TYPE_CHECKING:
    from bento.client.instance import Instance


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a Python file, or a zip with a __main__.py")
    parser.add_argument("words", metavar="ARG", nargs="*", help="value, name=value, or @FILE")
    place_arguments(parser)
    conclave.arguments(parser)
    parser.add_argument(
        "--local", action="store_true", help="run it here, without Tor AND WITHOUT ANY SANDBOX"
    )


def run(args: argparse.Namespace) -> int:
    upload = read_upload(args.file)
    positional, named = parse_words(args.words)
    if args.local:
        if args.conclave:
            raise UsageError("--local runs the function here, in no conclave", "use one of the two")
        from bento.client.local import run_local

        say("running without a sandbox, with all your rights, because of --local")
        return run_local(upload, positional, named)
    asyncio.run(_run(args, upload, positional, named))
    return 0


async def _run(
    args: argparse.Namespace, upload: bytes, positional: list[object], named: dict[str, object]
) -> None:
    from bento.face import connect

    began = time.monotonic()
    async with connect(**place(args), brief=True) as box:
        instance, session = await box.run(
            upload,
            *positional,
            text=True,
            on_log=None if args.json else show_log,
            trust=conclave.trust(args),
            **named,
        )
        try:
            size = await converse(session)
        except BoxError as error:
            if _is_over(instance):
                raise _over() from error
            raise
        finally:
            with contextlib.suppress(*([BoxError] if _is_over(instance) else [])):
                await instance.shutdown()
    if args.json:
        seconds = round(time.monotonic() - began, 3)
        summary(box=box.name.nickname, bytes=size, seconds=seconds)


def _is_over(instance: Instance) -> bool:
    return time.time() >= instance.expires


def _over() -> BoxError:
    return BoxError(
        "the function's time was over", "give it more: --lifetime 1h, or a line of its manifest"
    )
