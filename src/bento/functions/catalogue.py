"""The functions that come with Bento, as they travel: an operator may know each by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bento.functions.balancer import upload as balancer
from bento.functions.browser import client as browser
from bento.functions.cover import client as cover
from bento.functions.dropbox import transfer as dropbox
from bento.protocol.manifest import manifest_text


@dataclass(frozen=True)
class Shipped:
    """One row. `sees` is what the operator of its box can see, in one line."""

    name: str
    command: str
    does: str
    sees: str
    upload: Callable[[], bytes]

    @property
    def hash(self) -> str:
        """The SHA-256 (hex) a box is told: the same on every machine."""
        return hashlib.sha256(self.upload()).hexdigest()

    @property
    def manifest(self) -> str:
        return manifest_text(self.upload())


CATALOGUE = (
    Shipped(
        "browser",
        "bento browse URL, bento browse URL --leave-in-dropbox",
        "fetches a page with a real browser and sends it as one file of a public size",
        "the page and its address, and when; not who reads it",
        browser.build_upload,
    ),
    Shipped(
        "cover",
        "bento cover --rate R -- bento browse URL",
        "carries a command's streams to boxes among junk, one cell in each slot both ways",
        "that somebody uses it, its rate and times, to which boxes and when; not who",
        cover.build_upload,
    ),
    Shipped(
        "dropbox",
        "bento put FILE, bento get TICKET, bento put FILE --shards N",
        "keeps a sealed file, or a shard of one, until it was fetched or its time is over",
        "its size, when it came and how often it went; not its content, name, or whose it is",
        dropbox.upload,
    ),
    Shipped(
        "front",
        "bento balance --files DIR, bento balance --to HOST:PORT",
        "holds an onion service's address and sends each visitor to a replica it starts elsewhere",
        "the service's key, address and content, and when visitors come; not who, nor what they read",
        partial(balancer.build, balancer.FRONT),
    ),
    Shipped(
        "replica",
        "installed by a front",
        "serves visitors of an onion service whose key it never has",
        "the content, what each visitor asks for and when; not who they are",
        partial(balancer.build, balancer.REPLICA),
    ),
)
