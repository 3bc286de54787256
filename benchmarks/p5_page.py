"""P5: a page of more than 30 resources, every link 50 ms long: Browser v. Chromium over Tor.

The page is a real one, Debian's handbook on installing, served on loopback. Chromium runs with the user's
tor as its proxy and is timed from the navigation to the load event, its own start not counted. Browser is
timed from the request on a built circuit to the last byte of the page at home: installing, the start of a
Chromium on the box, recording, padding and the public start time are in it. Both have three relays.
A page that has a script must be watched for longer (stillness.py): the same page with one is measured too.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import Figure, median
from bento.cli.demo import SITE, web_site
from bento.client.network import Network, TorEndpoints
from bento.functions.browser import client as browser
from bento.functions.browser import jail
from bento.functions.browser.launch import launch, user_agent, version
from bento.functions.browser.limits import LIMITS
from bento.functions.browser.tab import Tab
from bento.guest.chromium import HEADLESS
from bento.testnet import Size, Testnet

PAGE = "sect.installation-steps.html"
SCRIPTED = "scripted.html"
CASES = {
    "public start times": (PAGE, "x2"),
    "no start times": (PAGE, "none"),
    "public start times, with a script in it": (SCRIPTED, "x2"),
}
DELAY_MS = 50
ROUNDS = 5
_SECONDS = 120.0


@contextmanager
def web() -> Iterator[str]:
    """The handbook, with SCRIPTED besides; yields its address."""
    with tempfile.TemporaryDirectory() as name:
        for each in (SITE / "en-US").iterdir():
            Path(name, each.name).symlink_to(each)
        page = (SITE / "en-US" / PAGE).read_text()
        Path(name, SCRIPTED).write_text(page.replace("</body>", "<script>1</script></body>"))
        with web_site(Path(name)) as site:
            yield f"{site}/"


def over_tor(url: str, socks: str) -> float:
    """Seconds from the navigation to the load event."""
    command = jail.command()
    command.insert(command.index("--unshare-all") + 1, "--share-net")
    flags = (*HEADLESS, user_agent(version()), "--host-resolver-rules=")
    with launch(command, flags, profile=jail.PROFILE) as chromium:
        tab = Tab(chromium.connection, LIMITS, proxy=f"socks5://{socks}")
        began = time.perf_counter()
        tab.navigate(url)
        assert tab.wait(lambda: tab.loaded or tab.is_broken, _SECONDS)
        assert tab.loaded, tab.error
        return time.perf_counter() - began


async def with_browser(network: Network, url: str, timing: str) -> tuple[float, int]:
    """(seconds from the request to the last byte, resources of the page)."""
    upload = browser.build_upload()
    async with await network.box() as box:
        began = time.perf_counter()
        instance, session = await box.run(upload, **browser.arguments(url, timing=timing))
        await session.close_input()
        pack = await browser.read_pack(session)
        took = time.perf_counter() - began
        await instance.shutdown()
    browser.check(pack)
    return took, len(pack.exchanges)


async def series() -> tuple[dict[str, list[float]], list[float], int]:
    """(seconds of Browser by case, seconds of Chromium over Tor, resources)."""
    ours: dict[str, list[float]] = {case: [] for case in CASES}
    theirs: list[float] = []
    resources = 0
    with tempfile.TemporaryDirectory() as home, web() as site:
        os.environ["BENTO_HOME"] = home
        testnet = Testnet(Size(delay_ms=DELAY_MS))
        try:
            status = await testnet.up(owner=os.getpid())
            async with await Network.open(TorEndpoints(*testnet.user_tor())) as network:
                for _ in range(ROUNDS):
                    theirs.append(await asyncio.to_thread(over_tor, site + PAGE, status.socks))
                    for case, (page, timing) in CASES.items():
                        seconds, resources = await with_browser(network, site + page, timing)
                        ours[case].append(seconds)
        finally:
            await testnet.down()
    return ours, theirs, resources


def measure() -> Iterator[Figure]:
    ours, theirs, resources = asyncio.run(series())
    for case, taken in ours.items():
        note = f"a page of {resources} resources, padded, {case}, v. Chromium over Tor"
        yield Figure("P5", median(taken), "s", median(theirs), 0.5, what=note)
