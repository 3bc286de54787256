"""`bento cover --rate R -- COMMAND`: a stream to a box that looks the same whether COMMAND uses it or not."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import tempfile
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bento.cli.output import emit, say, summary
from bento.cli.place import place, place_arguments
from bento.errors import BentoError, BoxError, UsageError
from bento.protocol.manifest import read_size, read_time

if TYPE_CHECKING:
    from bento.client.instance import Instance
    from bento.functions.cover.client import NearEnd, Report
    from bento.functions.cover.terms import Terms

POLITE = 10
"""The command's niceness: where there are not processors enough, cells go before what it does."""

_INTERRUPTED = 130  # what shells report of a program ended by SIGINT


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rate", required=True, help='each way, always: "25KB/s", or "50 cells/s" of 488 bytes'
    )
    parser.add_argument(
        "--for", dest="time", metavar="TIME", type=_time, default=0, help="its end, e.g. 30m"
    )
    parser.add_argument(
        "--budget", metavar="SIZE", type=_size, default=0, help="bytes in all, e.g. 256 MiB"
    )
    parser.add_argument(
        "--end",
        choices=("x2", "now"),
        default="x2",
        help="without --for: 1, 2, 4, 8... minutes after the beginning, or with the command",
    )
    place_arguments(parser)
    parser.add_argument("words", metavar="COMMAND", nargs="*", help="after --: bento browse ...")


def _time(text: str) -> int:
    try:
        return read_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _size(text: str) -> int:
    try:
        return read_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(args: argparse.Namespace) -> int:
    from bento.functions.cover.terms import Terms, read_slot

    if args.lifetime is not None:
        raise UsageError("a cover's lifetime is its end", "use --for")
    terms = Terms(read_slot(args.rate), args.budget, args.time)
    if not args.json:
        say(
            f"{terms.cells_per_second:g} cells a second each way, "
            f"{terms.bytes_per_hour / 1e6:.0f} MB an hour on your line"
        )
    name, report, status = asyncio.run(_cover(args, terms))
    if args.json:
        tell = summary if args.words else emit
        tell(
            sent=report.sent,
            received=report.received,
            missed=report.missed,
            seconds=round(report.seconds, 3),
            cells_per_second=round(terms.cells_per_second, 3),
            bytes=report.bytes,
            bytes_per_hour=terms.bytes_per_hour,
            box=name,
            status=status,
        )
    else:
        say(
            f"{report.sent} cells went and {report.received} came in {report.seconds:.0f} s over {name}; "
            f"{report.missed} slots were missed"
        )
    return status


async def _cover(args: argparse.Namespace, terms: Terms) -> tuple[str, Report, int]:
    """(the box's name, what passed, the command's exit status)."""
    from bento.client.covered import END, LIST, CoveredNetwork
    from bento.face import connect, network
    from bento.functions.cover.client import NearEnd, begin
    from bento.tor.relay_cache import save

    if CoveredNetwork.find() is not None:
        raise UsageError("this runs under a cover already", "one is enough")
    wanted = place(args)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bento-cover-")))
        found = await stack.enter_async_context(network(progress=wanted["progress"]))
        save(folder / LIST, await found.boxes())
        box = await stack.enter_async_context(connect(**wanted, within=found))
        instance, session = await begin(box, terms, streams=bool(args.words))
        stack.push_async_callback(_end, instance)
        stack.push_async_callback(session.detach)
        (folder / END).write_text(str(instance.expires))
        path = folder / "socket"
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(16)
        near = NearEnd(session, terms, listener)
        report, status = await _Errand(args, terms, near).run(path)
        return box.name.nickname, report, status


async def _end(instance: Instance) -> None:
    with suppress(BentoError, OSError):  # it ends with its lifetime then
        await instance.shutdown()


class _Errand:
    """A Cover from its beginning to its end, and the command that runs under it."""

    def __init__(self, args: argparse.Namespace, terms: Terms, near: NearEnd) -> None:
        self._words: list[str] = args.words
        self._at_once = args.end == "now"
        self._quiet = args.json
        self._terms = terms
        self._near = near
        self._status: int | None = None

    async def run(self, path: Path) -> tuple[Report, int]:
        loop = asyncio.get_running_loop()
        interrupted = asyncio.Event()

        def interrupt() -> None:
            interrupted.set()
            self._near.stop()

        loop.add_signal_handler(signal.SIGINT, interrupt)
        errand = asyncio.create_task(self._go(path))
        try:
            report = await self._near.run()
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            errand.cancel()
            (ended,) = await asyncio.gather(errand, return_exceptions=True)
        if isinstance(ended, BentoError):
            raise ended
        if interrupted.is_set():
            return report, self._status if self._status is not None else _INTERRUPTED
        if self._words and self._status is None:
            raise BoxError("the cover ended before its command", "give it more --for or --budget")
        return report, self._status or 0

    async def _go(self, path: Path) -> None:
        """Runs the command, then waits for the cover's end and calls it."""
        began = asyncio.get_running_loop().time()
        try:
            if self._words:
                self._status = await self._command(path)
            end = self._seconds(asyncio.get_running_loop().time() - began)
            if end is None:
                return  # the user, or the budget, says when
            left = began + end - asyncio.get_running_loop().time()
            if self._words and left > 0 and not self._quiet:
                say(
                    f"the command has ended; the cover goes on for {left:.0f} s, as nobody should see when"
                )
            await asyncio.sleep(max(left, 0))
            self._near.stop()
        except BentoError:
            self._near.stop()
            raise

    def _seconds(self, elapsed: float) -> float | None:
        """From the cover's beginning to its end, once the command took `elapsed`."""
        from bento.functions.cover.terms import public_end

        if self._terms.seconds:
            return self._terms.seconds
        if not self._words:
            return None
        return elapsed if self._at_once else public_end(elapsed)

    async def _command(self, path: Path) -> int:
        """Its exit status. It ends with the cover at the latest."""
        from bento.client.covered import VARIABLE

        words = self._words
        if words[0] == "bento":
            words = [sys.executable, "-m", "bento.cli.main", *words[1:]]
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                env={**os.environ, VARIABLE: str(path)},
                preexec_fn=partial(os.nice, POLITE),
            )
        except OSError as error:
            raise UsageError(f"cannot run {words[0]}: {error.strerror}") from error
        try:
            async with asyncio.timeout(self._terms.seconds or None):
                return await process.wait()
        except TimeoutError:
            raise BoxError("the cover ended before its command", "give it more --for") from None
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
