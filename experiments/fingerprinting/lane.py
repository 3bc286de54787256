"""One user: a plain tor with a Chromium, and a tor of Bento's, each with a tap before its guard."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from statistics import median

from bento.client.network import Network, TorEndpoints
from bento.client.session import Session
from bento.errors import BentoError, BoxError, TorError
from bento.functions.browser import client as browser
from bento.functions.browser import jail
from bento.functions.browser.chromium import Chromium
from bento.functions.browser.launch import launch, user_agent, version
from bento.functions.browser.limits import LIMITS
from bento.functions.browser.sizes import warm_up
from bento.functions.browser.tab import Tab
from bento.guest.chromium import HEADLESS
from bento.testnet.layout import Node
from bento.testnet.torrc import COMMON, DRIVEN, USER
from bento.tor.process import TorProcess
from experiments.fingerprinting.cases import (
    COVERED,
    STAND_IN,
    UNDEFENDED,
    UNDER_COVER,
    UNPADDED,
    Answer,
    Case,
    answer,
)
from experiments.fingerprinting.sites import Site
from experiments.fingerprinting.store import Visit
from experiments.fingerprinting.tap import Tap

_BOOTSTRAP_SECONDS = 60.0
_PAGE_SECONDS = 40.0
_VISIT_SECONDS = 90.0
_COVER_SECONDS = 260.0
_QUIET = 0.7  # seconds without a cell: nothing of the visit is under way any more
_SETTLE_SECONDS = 15.0
_CALIBRATIONS = 3
_BLOCK = 65536  # bytes


class Heard:
    """How much of an answer came, and when its first byte did, after `warm` bytes of warm-up."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.warm = 0
        self.bytes = 0
        self.first = 0.0

    async def all(self, session: Session) -> AsyncIterator[bytes]:
        async for piece in session:
            if self.bytes <= self.warm < self.bytes + len(piece):
                self.first = time.monotonic() - self.began
            self.bytes += len(piece)
            yield piece


class Lane:
    """Visits pages, one at a time. `async with`."""

    def __init__(
        self,
        folder: Path,
        guard: Node,
        directory: str,
        boxes: Path,
        browsers: asyncio.Semaphore,
    ) -> None:
        self._folder = folder
        self._guard = guard
        self._directory = directory
        self._boxes = boxes
        self._browsers = browsers
        self._stack = contextlib.AsyncExitStack()
        self._chromium: Chromium | None = None
        self._plain_socks = ""
        self._latency = 0.0

    async def __aenter__(self) -> Lane:
        try:
            self._plain_tap, plain = await self._tor("plain")
            self._plain_socks = await _socks(plain)
            self._tap, tor = await self._tor("bento")
            self._endpoints = TorEndpoints(tor.control_address, await _socks(tor))
            self._network = await self._stack.enter_async_context(
                await Network.open(self._endpoints, cache=self._boxes)
            )
            self._stack.callback(self._close_chromium)
            await self._calibrate()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def visit(self, case: Case, site: Site, number: int, before: Visit | None) -> Visit:
        """One visit of `site`; a case that is sent needs the Browser's visit `before` it.

        Raises BentoError or TimeoutError if there was none."""
        async with asyncio.timeout(_COVER_SECONDS if case is COVERED else _VISIT_SECONDS):
            if case is UNDEFENDED:
                return await self._over_tor(site, number)
            if case is UNPADDED:
                return await self.browse(case, site, number)
            if case is COVERED:
                return await self._under_cover(site, number)
            assert before is not None
            return await self._sent(case, before)

    # -- the kinds ------------------------------------------------------------------------------

    async def _over_tor(self, site: Site, number: int) -> Visit:
        tap = self._plain_tap
        await tap.quiet(_QUIET, _SETTLE_SECONDS)
        try:
            async with self._browsers:
                chromium = await asyncio.to_thread(self._open_chromium)
                began = tap.begin()
                await asyncio.to_thread(_load, chromium, site.url, self._plain_socks)
            await tap.quiet(_QUIET, _SETTLE_SECONDS)
        except BaseException:
            self._close_chromium()
            raise
        trace = tap.end(began)
        await asyncio.to_thread(_forget, chromium)
        return Visit(UNDEFENDED.name, site.name, number, trace)

    async def browse(self, case: Case, site: Site, number: int) -> Visit:
        """Browser itself, with the words of that case."""
        words = browser.arguments(site.url, case.padding, case.timing)

        async def run(heard: Heard) -> int:
            heard.warm = warm_up(case.padding)
            async with await self._network.box() as box:
                instance, session = await box.run(browser.build_upload(), **words)
                async with session:
                    await session.close_input()
                    pack, size = await browser.read_answer(heard.all(session), case.padding)
                await instance.shutdown()
            browser.check(pack)
            return size

        return await self._run(case, site.name, number, run, self._browsers)

    async def _under_cover(self, site: Site, number: int) -> Visit:
        """As a user does it: the two commands, over the tor behind the tap."""

        async def run(_: Heard) -> int:
            ended = await self._command(*UNDER_COVER, site.url)
            if ended:
                raise BoxError(f"bento cover ended with status {ended}")
            return 0

        return await self._run(COVERED, site.name, number, run, contextlib.nullcontext())

    async def _command(self, *words: str) -> int:
        """A bento command's exit status."""
        over = (self._endpoints.control, self._endpoints.socks, str(self._boxes))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "experiments.fingerprinting.covered", *over, *words),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()

    async def _sent(self, case: Case, before: Visit) -> Visit:
        sent = answer(case, before.size, before.ready)

        async def run(heard: Heard) -> int:
            await self._stand_in(sent, heard)
            return sent.size

        return await self._run(case, before.site, before.number, run, contextlib.nullcontext())

    async def _stand_in(self, sent: Answer, heard: Heard) -> None:
        heard.warm = sent.warm
        async with await self._network.box() as box:
            instance, session = await box.run(
                STAND_IN, warm=sent.warm, size=sent.size, start=sent.start
            )
            async with session:
                await session.close_input()
                async for _ in heard.all(session):
                    if heard.bytes >= sent.warm + sent.size:
                        break  # as Browser's client does, which knows the end when it sees it
            await instance.shutdown()
        if heard.bytes != sent.warm + sent.size:
            raise BoxError(f"{heard.bytes} bytes came instead of {sent.warm + sent.size}")

    async def _run(
        self,
        case: Case,
        site: str,
        number: int,
        run: Callable[[Heard], Awaitable[int]],
        turn: AbstractAsyncContextManager[object],
    ) -> Visit:
        await self._tap.quiet(_QUIET, _SETTLE_SECONDS)
        async with turn:
            heard = Heard(self._tap.begin())
            size = await run(heard)
        await self._tap.quiet(_QUIET, _SETTLE_SECONDS)
        trace = self._tap.end(heard.began)
        ready = max(0.0, heard.first - self._latency)
        return Visit(case.name, site, number, trace, size, heard.first, ready)

    # -- what they need ---------------------------------------------------------------------------

    async def _tor(self, name: str) -> tuple[Tap, TorProcess]:
        tap = await self._stack.enter_async_context(Tap())
        fingerprint = (self._guard.data / "fingerprint").read_text().split()[1]
        torrc = [
            *COMMON,
            *DRIVEN,
            *USER,
            ("DirAuthority", self._directory),
            ("SocksPort", "127.0.0.1:auto IsolateDestAddr"),
            ("HTTPSProxy", f"127.0.0.1:{tap.port}"),
            ("EntryNodes", f"${fingerprint}"),
            ("NumDirectoryGuards", "1"),
            # A guard's own padding would only blur what is compared.
            ("ConnectionPadding", "0"),
        ]
        tor = TorProcess(torrc, self._folder / name, name)
        await self._stack.enter_async_context(tor)
        try:
            async with asyncio.timeout(_BOOTSTRAP_SECONDS):
                await tor.bootstrapped()
        except TimeoutError:
            raise TorError(f"tor did not get through the tap: {tor.tail[-1:]}") from None
        return tap, tor

    async def _calibrate(self) -> None:
        """How long an answer takes to come that is ready at once."""
        taken = [await self._at_once() for _ in range(_CALIBRATIONS)]
        self._latency = median(taken)

    async def _at_once(self) -> float:
        heard = Heard(time.monotonic())
        await self._stand_in(Answer(0, _BLOCK, 0.0), heard)
        return heard.first

    def _open_chromium(self) -> Chromium:
        if self._chromium is None:
            command = jail.command()
            command.insert(command.index("--unshare-all") + 1, "--share-net")
            flags = (*HEADLESS, user_agent(version()), "--host-resolver-rules=")
            self._chromium = launch(command, flags, profile=jail.PROFILE)
        return self._chromium

    def _close_chromium(self) -> None:
        if self._chromium is not None:
            self._chromium.close()
            self._chromium = None


async def _socks(tor: TorProcess) -> str:
    """HOST:PORT of its one SOCKS port."""
    key = "net/listeners/socks"
    return (await (await tor.controller()).get_info(key))[key].strip('"')


def _load(chromium: Chromium, url: str, socks: str) -> None:
    """Load a page with nothing in any cache. Raises TorError if it does not come."""
    try:
        tab = Tab(chromium.connection, LIMITS, proxy=f"socks5://{socks}")
        tab.navigate(url)
        tab.wait(lambda: tab.loaded or tab.is_broken, _PAGE_SECONDS)
    except BentoError:
        raise
    except Exception as error:
        raise TorError(f"Chromium failed: {error}") from error
    if not tab.loaded:
        raise TorError(f"the page did not load: {tab.error or 'in time'}")


def _forget(chromium: Chromium) -> None:
    """End every page's context, with its cache and its connections."""
    targets = chromium.connection.call("Target.getTargets").each("targetInfos")
    for context in {target.text("browserContextId") for target in targets}:
        chromium.connection.call("Target.disposeBrowserContext", {"browserContextId": context})
