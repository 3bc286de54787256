"""Five pages over Tor: Chromium at home, and Browser in each set of sizes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bento.client.network import Network, TorEndpoints
from bento.functions.browser import client as browser
from bento.functions.browser import jail
from bento.functions.browser.chromium import Chromium
from bento.functions.browser.launch import launch, user_agent, version
from bento.functions.browser.limits import LIMITS
from bento.functions.browser.pack import Pack
from bento.functions.browser.sizes import SIZE_SETS
from bento.functions.browser.tab import Tab
from bento.guest.chromium import HEADLESS
from bento.testnet import Size, Testnet
from experiments.fingerprinting.sites import Corpus, Site, sites
from experiments.fingerprinting.web import serving

PAGES = ("exim4-doc-html", "graphviz-doc", "zoneminder-doc", "borgbackup-doc", "uikit")
"""17 KB to 3.4 MB on the wire, 6 to 78 resources."""
OVER_TOR = "Chromium over Tor"
CASES = (OVER_TOR, *(f"Browser {padding}" for padding in SIZE_SETS))
DELAY_MS = 50.0
_SECONDS = 120.0


@dataclass
class Times:
    """One page: what it is, and seconds by case."""

    resources: int = 0
    weight: int = 0
    """Bytes of all bodies, unpacked."""
    seconds: dict[str, list[float]] = field(default_factory=dict)


class Log:
    """Every measurement, appended to a file as it is made: a run that was cut goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.times = {page: Times() for page in PAGES}
        for line in path.read_text().splitlines() if path.exists() else []:
            self._take(**json.loads(line))

    def add(self, **measured: str | float) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(measured) + "\n")
        self._take(**measured)

    def _take(
        self, *, page: str, case: str, seconds: float, resources: int = 0, weight: int = 0
    ) -> None:
        taken = self.times[page]
        taken.seconds.setdefault(case, []).append(seconds)
        taken.resources, taken.weight = resources or taken.resources, weight or taken.weight

    def missing(self, rounds: int) -> list[tuple[str, str]]:
        """(page, case) of what is still to be measured, round by round."""
        return [
            (page, case)
            for number in range(rounds)
            for page in PAGES
            for case in CASES
            if len(self.times[page].seconds.get(case, [])) <= number
        ]


async def measure(log: Log, rounds: int, seconds: float) -> int:
    """Measure for at most `seconds`; says how much is left."""
    until = time.monotonic() + seconds
    corpus = Corpus()
    corpus.make()
    chosen = {site.name: site for site in sites() if site.name in PAGES}
    if not log.missing(rounds):
        return 0
    with serving(corpus, list(chosen.values())):
        async with _network() as (network, socks):
            for page, case in log.missing(rounds):
                if time.monotonic() > until:
                    break
                await _visit(log, network, socks, chosen[page], case)
    return len(log.missing(rounds))


@contextlib.asynccontextmanager
async def _network() -> AsyncIterator[tuple[Network, str]]:
    """A network with slow links, as Bento's client sees it, and the SOCKS port of a plain tor."""
    with tempfile.TemporaryDirectory(prefix="download-") as home:
        testnet = Testnet(Size(boxes=1, delay_ms=DELAY_MS), Path(home))
        try:
            status = await testnet.up(owner=os.getpid())
            endpoints = TorEndpoints(*testnet.user_tor())
            cache = Path(home) / "boxes.json"
            async with await Network.open(endpoints, cache=cache) as network:
                await network.boxes(refresh=True)
                yield network, status.socks
        finally:
            await testnet.down()


async def _visit(log: Log, network: Network, socks: str, site: Site, case: str) -> None:
    if case == OVER_TOR:
        taken = await asyncio.to_thread(_over_tor, site.url, socks)
        log.add(page=site.name, case=case, seconds=round(taken, 3))
        return
    taken, pack = await _with_browser(network, site.url, case.removeprefix("Browser "))
    weights = {"resources": len(pack.exchanges), "weight": pack.weight}
    log.add(page=site.name, case=case, seconds=round(taken, 3), **weights)


def _over_tor(url: str, socks: str) -> float:
    with _chromium() as chromium:
        tab = Tab(chromium.connection, LIMITS, proxy=f"socks5://{socks}")
        began = time.perf_counter()
        tab.navigate(url)
        tab.wait(lambda: tab.loaded or tab.is_broken, _SECONDS)
        if not tab.loaded:
            raise TimeoutError(f"{url} did not load: {tab.error or 'in time'}")
        return time.perf_counter() - began


@contextlib.contextmanager
def _chromium() -> Iterator[Chromium]:
    """Jailed, but with this machine's network: it reaches the SOCKS port of a tor and nothing else."""
    command = jail.command()
    command.insert(command.index("--unshare-all") + 1, "--share-net")
    flags = (*HEADLESS, user_agent(version()), "--host-resolver-rules=")
    with launch(command, flags, profile=jail.PROFILE) as chromium:
        yield chromium


async def _with_browser(network: Network, url: str, padding: str) -> tuple[float, Pack]:
    async with await network.box() as box:
        began = time.perf_counter()
        instance, session = await box.run(
            browser.build_upload(), **browser.arguments(url, padding, "none")
        )
        await session.close_input()
        pack = await browser.read_pack(session, padding)
        seconds = time.perf_counter() - began
        await instance.shutdown()
    browser.check(pack)
    return seconds, pack
