"""What an instance weighs: the private memory of all its processes, on a real box without Tor."""

from __future__ import annotations

import asyncio
import contextlib

from benchmarks.p2_idle import private_bytes
from tests.local_box import LocalBox, local_box

from bento.functions.browser import client as browser
from bento.functions.catalogue import CATALOGUE
from bento.sandbox.tree import descendants
from experiments.download.times import PAGES
from experiments.fingerprinting.sites import Corpus, sites
from experiments.fingerprinting.web import serving

_SETTLE = 1.0  # seconds for a new instance to come to rest
_EVERY = 0.1  # seconds between two looks at one that works


async def memory() -> dict[str, int]:
    """Bytes: of each shipped function installed and idle, then the most of Browser at each page."""
    found: dict[str, int] = {}
    async with local_box(images=("python", "browser")) as local:
        for shipped in CATALOGUE:
            instance = await local.box.install(shipped.upload())
            await asyncio.sleep(_SETTLE)
            found[f"{shipped.name}, idle"] = _weight(local)
            await instance.shutdown()
        corpus = Corpus()
        chosen = [site for site in sites() if site.name in PAGES]
        with serving(corpus, chosen):
            for site in sorted(chosen, key=lambda site: PAGES.index(site.name)):
                found[f"browser, at its most, {site.name}"] = await _at_work(local, site.url)
    return found


async def _at_work(local: LocalBox, url: str) -> int:
    instance, session = await local.box.run(
        browser.build_upload(), **browser.arguments(url, "none", "none")
    )
    reading = asyncio.create_task(browser.read_pack(session, "none"))
    most = 0
    while not reading.done():
        most = max(most, await asyncio.to_thread(_weight, local))
        await asyncio.wait([reading], timeout=_EVERY)
    browser.check(await reading)
    await instance.shutdown()
    return most


def _weight(local: LocalBox) -> int:
    """Of all instances; a process may end while one looks."""
    weight = 0
    for instance in list(local.instances):
        for pid in descendants(instance.sandbox.pid):
            with contextlib.suppress(OSError):
                weight += private_bytes(pid)
    return weight
