"""`bento browse URL`: a page fetched at the far end, brought back packed and padded, opened offline."""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bento.cli import conclave, left
from bento.cli.output import emit, say
from bento.cli.place import place, place_arguments
from bento.errors import UsageError

if TYPE_CHECKING:
    from bento.cli.parts import Parts
    from bento.functions.browser.pack import Pack
    from bento.functions.browser.window import GrowingWindow


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", nargs="?")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="save the page there")
    parser.add_argument("--open", action="store_true", help="show it in Chromium, network off")
    parser.add_argument(
        "--padding",
        choices=("x2", "x1.5", "1MB", "7MB", "none"),
        help="the public set of sizes an answer may have (default: x2, powers of two; under bento cover"
        " none)",
    )
    parser.add_argument(
        "--timing",
        choices=("x2", "fixed", "none"),
        help="the public set of moments an answer may begin (default: x2, 1, 2, 4, 8… seconds; under"
        " bento cover none; fixed: 8, 16, 32)",
    )
    left.arguments(parser)
    place_arguments(parser)
    conclave.arguments(parser)


def run(args: argparse.Namespace) -> int:
    from bento.cli.parts import Parts
    from bento.client.covered import CoveredNetwork
    from bento.functions.browser import client
    from bento.functions.browser.sizes import warm_up

    covered = CoveredNetwork.find() is not None and not args.leave
    usual = "none" if covered else "x2"
    args.padding, args.timing = args.padding or usual, args.timing or usual
    if args.ticket or args.leave:
        return left.run(args)
    if args.url is None:
        raise UsageError("there is no address to fetch", "write it as https://HOST/PATH")
    words = client.arguments(args.url, args.padding, args.timing)
    began = time.monotonic()
    in_parts = covered and args.padding == args.timing == "none"
    parts = Parts(told=not args.json, shown=args.open) if in_parts else None
    pack, received, box = asyncio.run(_fetch(args, words, parts))
    seconds = round(time.monotonic() - began, 3)
    ahead = warm_up(args.padding)
    came = f"{received} came in {seconds} s"
    if parts is None:
        came += f", a size of the {args.padding} set (and {ahead} before them, as for every page)"
    facts = {"received": received, "warm_up": ahead, "seconds": seconds, "box": box}
    show_page(args, pack, came, facts, parts.window if parts else None)
    return 0


def show_page(
    args: argparse.Namespace,
    pack: Pack,
    came: str,
    facts: dict[str, object],
    window: GrowingWindow | None = None,
) -> None:
    """Saves, tells of and opens a page, if there is no `window` of it yet; `facts` are about how it came.
    Raises FunctionError if there is none."""
    from bento.functions.browser import client

    saved = client.save(pack, args.output) if args.output else []
    if args.json:
        emit(
            url=pack.final_url or pack.url,
            title=pack.title,
            status=pack.status,
            responses=len(pack.exchanges),
            weight=pack.weight,
            **facts,
            saved=[str(path) for path in saved],
            cuts=[cut.detail for cut in pack.cuts],
        )
    else:
        say(f"{pack.title or pack.url}: {len(pack.exchanges)} responses over {facts['box']}")
        say(f"the page weighs {pack.weight} bytes; {came}")
        for cut in pack.cuts:
            say(f"cut at the limit {cut.limit}: {cut.detail}")
        for path in saved:
            print(path)
    client.check(pack)
    if window is not None:
        window.wait()
    elif args.open:
        from bento.functions.browser.replay import open_window

        open_window(pack)


async def _fetch(
    args: argparse.Namespace, words: dict[str, str], parts: Parts | None
) -> tuple[Pack, int, str]:
    """(the pack, bytes of the answer, the box's name)."""
    from bento.face import connect
    from bento.functions.browser import client

    upload = client.build_upload()
    async with connect(**place(args)) as box:
        instance, session = await box.run(
            upload,
            text=False,
            on_log=None,
            trust=conclave.trust(args),
            **words,
            parts=parts is not None,
        )
        try:
            async with session:
                await session.close_input()
                if parts is not None:
                    pack, received = await client.read_parts(session, parts.take)
                else:
                    pack, received = await client.read_answer(session, args.padding)
            return pack, received, box.name.nickname
        finally:
            await instance.shutdown()
