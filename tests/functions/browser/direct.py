"""The reference: the same page in the same Chromium, straight from the network, nothing between."""

import io

import numpy as np
from PIL import Image
from tests.functions.browser.site import Site

from bento.functions.browser import jail
from bento.functions.browser.launch import launch, user_agent, version
from bento.functions.browser.limits import LIMITS
from bento.functions.browser.tab import Tab
from bento.guest.chromium import HEADLESS

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def photograph(site: Site, path: str) -> Pixels:
    """A picture of a page, loaded by a Chromium with the host's network and no interception."""
    command = jail.command()
    command.insert(command.index("--unshare-all") + 1, "--share-net")
    flags = (*HEADLESS, user_agent(version()), "--host-resolver-rules=")
    with launch(command, flags, profile=jail.PROFILE) as chromium:
        tab = Tab(chromium.connection, LIMITS, proxy="direct://")
        tab.navigate(site.url(path))
        over, quiet = (lambda: False), (lambda _: site.is_quiet())
        assert tab.complete(lambda: tab.loaded, over, quiet, 60)
        assert tab.error == ""
        return pixels(tab.picture(30))


def pixels(png: bytes) -> Pixels:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def differing(one: Pixels, other: Pixels) -> int:
    """How many pixels differ; all, if the pictures are not of one size."""
    if one.shape != other.shape:
        return max(one.size, other.size)
    return int((one != other).any(axis=2).sum())
