"""A page that is left in a dropbox on another box: whole boxes, real Chromium; only Tor is missing."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace

import pytest
from tests.functions.browser.site import Site
from tests.neighbourhood import box_of, neighbourhood
from tests.waiting import until

from bento.errors import BoxError, FunctionError, PolicyError, UsageError
from bento.functions.browser import leaving
from bento.functions.browser.client import arguments
from bento.functions.browser.left import bring, leave
from bento.functions.browser.packing import PackReader
from bento.functions.dropbox import transfer
from bento.functions.dropbox.sealing import Opener
from bento.functions.dropbox.transfer import Rules
from bento.protocol.capability import Capability

IMAGES = ("python", "browser")


def kept(local):
    """What the operator of the dropbox's box finds."""
    [instance] = local.instances
    with open(f"/proc/{instance.sandbox.pid}/root/tmp/data/file", "rb") as file:
        return file.read()


async def is_there(dropbox, ticket):
    said = await transfer.status(dropbox.instance(ticket))
    return said["size"] and said["stored"] == said["size"]


async def test_a_page_waits_sealed_on_another_box_and_is_fetched_by_its_ticket(site: Site):
    async with neighbourhood("fetches", "keeps", images=IMAGES) as (boxes, nearby):
        browser, dropbox = box_of(boxes["fetches"]), box_of(boxes["keeps"])
        words = arguments(site.url("/rich"), timing="none")
        left = await leave(browser, dropbox, words, Rules(gets=1))
        await browser.close()
        while not await is_there(dropbox, left.ticket):
            pass
        await until(lambda: len(boxes["fetches"].instances) == 0)  # nobody had to end it
        sealed = kept(boxes["keeps"])
        assert b"bentopk1" not in sealed and b"rich" not in sealed
        assert left.ticket.decryption not in sealed
        pack = await bring(dropbox, left.ticket)
        assert (pack.url, pack.status, pack.failure) == (site.url("/rich"), 200, None)
        await until(lambda: len(boxes["keeps"].instances) == 0)
    assert {name for name, _ in nearby.connections} == {"keeps"}


async def test_what_browser_is_given_is_weaker_than_the_readers_ticket(monkeypatch):
    given = []

    async def begin(browser, words, ticket, key, gets):
        given.append(ticket)

    monkeypatch.setattr("bento.functions.browser.left._begin", begin)
    async with neighbourhood("fetches", "keeps") as (boxes, _):
        browser, dropbox = box_of(boxes["fetches"]), box_of(boxes["keeps"])
        left = await leave(browser, dropbox, arguments("http://127.80.0.1/"), Rules())
        [ticket] = given
        for _ in range(2):  # one to put the page, and another if that was lost
            await transfer.status(dropbox.instance(ticket))
        with pytest.raises(BoxError, match="uses are spent"):
            await transfer.status(dropbox.instance(ticket))
        token = ticket.token
        wider = replace(ticket, token=Capability(token.name, token.raw[:-3], token.seal))
        with pytest.raises(BoxError, match="no such token"):
            await transfer.status(dropbox.instance(wider))
        assert ticket.decryption == b"" != left.ticket.decryption
        assert not await is_there(dropbox, left.ticket)
        with pytest.raises(FunctionError, match="not here yet"):
            await bring(dropbox, left.ticket)
        await left.dropbox.shutdown()


async def test_where_it_cannot_be_done_nothing_is_left_behind():
    words = arguments("http://127.80.0.1/")
    async with neighbourhood("fetches", "keeps", boxes=0) as (boxes, _):
        browser, dropbox = box_of(boxes["fetches"]), box_of(boxes["keeps"])
        with pytest.raises(PolicyError, match="boxes 1: this box gives at most 0"):
            await leave(browser, dropbox, {**words}, Rules())
        await until(lambda: len(boxes["keeps"].instances) == 0)
        with pytest.raises(UsageError, match="different boxes"):
            await leave(dropbox, dropbox, words, Rules())


def test_a_page_that_does_not_fit_is_told_of_instead():
    stored = []
    leaving.leave(Stored(stored), "http://a/", [bytes(3 << 20)], "x2", bytes(32), 1, 500 << 10)
    opener = Opener(bytes(32))
    answer = b"".join(opener.feed(b"".join(stored)))
    assert opener.content.name == "page.x2"
    reader = PackReader("x2")
    reader.feed(answer)
    assert reader.finish().failure.kind == "size"


class Stored:
    """A dropbox that keeps what it is sent in a list."""

    def __init__(self, pieces):
        self.pieces = pieces

    def invoke(self, do, size, gets):
        assert (do, gets) == ("put", 1)
        return contextlib.nullcontext(self)

    def send(self, data):
        self.pieces.append(data)

    def close_input(self):
        pass

    def read(self, most):
        return bytes(8) + hashlib.sha256(b"".join(self.pieces)).digest()
