"""The reference: the same page in the same Chromium, straight from the network, nothing between."""

import io
import time

import numpy as np
from PIL import Image

from bento.functions.browser import jail
from bento.functions.browser.chromium import HEADLESS, Chromium, user_agent, version
from bento.functions.browser.limits import LIMITS
from bento.functions.browser.tab import Tab

SETTLE_SECONDS = 1.5

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def photograph(url: str) -> Pixels:
    """A picture of `url`, loaded by a Chromium with the host's network and no interception."""
    command = jail.command()
    command.insert(command.index("--unshare-all") + 1, "--share-net")
    flags = (*HEADLESS, user_agent(version()), "--host-resolver-rules=")
    with Chromium(command, flags, profile=jail.PROFILE) as chromium:
        tab = Tab(chromium.connection, LIMITS, proxy="direct://")
        tab.navigate(url)
        assert tab.wait(lambda: tab.loaded, 60), "the page did not load"
        assert tab.error == ""
        settled = time.monotonic() + SETTLE_SECONDS
        tab.wait(lambda: time.monotonic() > settled, 60)
        seen = time.monotonic()
        tab.bring_into_view(lambda seconds: time.monotonic() - seen > SETTLE_SECONDS)
        return pixels(tab.picture(30))


def pixels(png: bytes) -> Pixels:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def differing(one: Pixels, other: Pixels) -> int:
    """How many pixels differ; all, if the pictures are not of one size."""
    if one.shape != other.shape:
        return max(one.size, other.size)
    return int((one != other).any(axis=2).sum())
