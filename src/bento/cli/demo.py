"""`make demo`: the whole idea on a private Tor network, with real parts, step by step.

A page travels from a web server through a function on a box and three relays to this user; then a
reader's own ten-line function does. Everything started here is ended here, also on Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bento.client.network import Network, TorEndpoints
from bento.errors import BentoError, HostError
from bento.functions.browser import client as browser
from bento.functions.browser import replay
from bento.testnet import Testnet
from bento.tor.controller import Controller

if TYPE_CHECKING:
    from bento.client.box import Box
    from bento.functions.browser.pack import Pack
    from bento.testnet import Step

SITE = Path("/usr/share/doc/debian-handbook/html")
PAGE = "/en-US/sect.apt-get.html"
WEB_ADDRESS = "127.80.0.1"
OUTPUT = Path("demo-output")
OWN_FUNCTION = Path("examples/hello.py")


@dataclass
class Report:
    """What the table at the end shows."""

    console: Console
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """Times one step; what is appended to the list becomes its remark."""
        remarks: list[str] = []
        began = time.monotonic()
        with self.console.status(what):
            yield remarks
        taken = f"{time.monotonic() - began:.2f} s"
        self.rows.append((what, taken, ", ".join(remarks)))
        self.console.print(f"[green]✓[/] {what}  [dim]{taken}  {', '.join(remarks)}[/]")

    def table(self) -> Table:
        table = Table("step", "time", "what came of it", title="What happened")
        for row in self.rows:
            table.add_row(*row)
        return table


class _Server(ThreadingHTTPServer):
    """With the usual backlog of five a browser's sixth connection at once would be kept waiting a second."""

    request_queue_size = 128


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """The demo's screen is not a web server's log."""


@contextlib.contextmanager
def web_site(folder: Path = SITE) -> Iterator[str]:
    """Debian's handbook as a web site on loopback; yields its address."""
    if not folder.is_dir():
        raise HostError("the demo's web site is missing", "apt-get install debian-handbook")
    server = _Server((WEB_ADDRESS, 0), partial(_Handler, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{WEB_ADDRESS}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.asynccontextmanager
async def tor_network(report: Report) -> AsyncIterator[Testnet]:
    """The private network: the one that is up already, or one that goes when the demo does."""
    found = Testnet.find()
    testnet = found or Testnet()
    try:
        with report.step(
            "a private Tor network: 1 authority, 4 relays, 2 exits, 3 boxes"
        ) as remarks:
            status = await testnet.up(partial(_show_step, report.console), owner=os.getpid())
            remarks.append(f"{len(status.boxes)} boxes, every address loopback")
        yield testnet
    finally:
        if found is None:
            with report.step("end the network"):
                await testnet.down()


def _show_step(console: Console, step: Step) -> None:
    if not console.is_terminal:
        return
    console.print(f"  [dim]{step.what}: {step.done}/{step.total}[/]")


class Wire:
    """Bytes between the user's own tor and its guard: all that an observer near the user sees."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def bytes(self) -> int:
        answer = await self._controller.get_info("traffic/read", "traffic/written")
        return sum(map(int, answer.values()))


async def browse(report: Report, network: Network, wire: Wire, url: str) -> None:
    """The Browser function on a box of the network, its page at home."""
    with report.step("build a circuit that ends at a box") as remarks:
        browser.build_upload()  # while nobody waits for it
        box = await network.box()
        remarks.append(f"{box.name.nickname}, three relays away")
    async with box:
        before = await wire.bytes()
        with report.step(
            "upload the Browser function, fetch the page there, bring it back"
        ) as remarks:
            pack, received = await _fetch(box, url)
            on_wire = await wire.bytes() - before
            remarks += [
                f"{len(pack.exchanges)} responses",
                f"the page weighs {pack.weight:,} bytes",
                f"padded to {received:,}",
                f"{on_wire:,} bytes on the user's wire",
            ]
    browser.check(pack)
    with report.step("open the page offline in Chromium, network off, and save it") as remarks:
        blocked, saved = await asyncio.to_thread(_open_and_save, pack)
        remarks += [f"{blocked} requests had no answer and were blocked", *map(str, saved)]


def _open_and_save(pack: Pack) -> tuple[int, list[Path]]:
    """(requests that were blocked, files)."""
    with replay.Replay(pack) as page:
        return page.blocked, browser.save(pack, OUTPUT, page)


async def _fetch(box: Box, url: str) -> tuple[Pack, int]:
    instance, session = await box.run(
        browser.build_upload(), text=False, on_log=None, trust=None, **browser.arguments(url)
    )
    try:
        async with session:
            await session.close_input()
            return await browser.read_answer(session)
    finally:
        await instance.shutdown()


async def own_function(report: Report, network: Network, url: str) -> None:
    """The reader's function, from examples/, on another fresh circuit."""
    lines = len(OWN_FUNCTION.read_text().splitlines())
    with report.step(f"your own function: {OWN_FUNCTION}, {lines} lines") as remarks:
        async with await network.box() as box:
            instance, session = await box.run(OWN_FUNCTION.read_bytes(), url)
            try:
                await session.close_input()
                answer = (await session.read()).decode()
            finally:
                await instance.shutdown()
        remarks.append(f"{box.name.nickname} says: {answer.strip()}")


async def demo(report: Report) -> None:
    async with tor_network(report) as testnet:
        endpoints = TorEndpoints(*testnet.user_tor())
        cache = testnet.run / "boxes.json"
        with web_site() as site:
            async with await Network.open(endpoints, cache=cache) as network:
                with report.step("find the boxes through their relays' ContactInfo") as remarks:
                    entries = await network.boxes(refresh=True)
                    remarks.append(", ".join(entry.nickname for entry in entries))
                async with await Controller.connect(endpoints.control) as controller:
                    await controller.authenticate()
                    await browse(report, network, Wire(controller), site + PAGE)
                await own_function(report, network, site + PAGE)


def main() -> int:
    console = Console()
    report = Report(console)
    began = time.monotonic()
    try:
        asyncio.run(demo(report))
    except BentoError as error:
        console.print(f"[red]error:[/] {error.detail}\n[dim]{error.hint}[/]")
        return error.exit_status
    except KeyboardInterrupt:
        console.print("interrupted; everything was ended")
        return 130
    console.print(report.table())
    console.print(
        f"done in {time.monotonic() - began:.1f} s. No one on the way could recognise the page: the "
        "user's side saw one download of a public size, the web server saw the box."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
