"""A function on one box uses another, over Tor: nothing but names and tickets is known to it."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from tests.e2e.command import bento
from tests.e2e.web import web_site

from bento.client.network import Network, TorEndpoints
from bento.errors import BentoError, BoxError
from bento.protocol.ticket import Ticket

pytestmark = pytest.mark.network

PARENT = b"""
# /// bento
# boxes = 2
# lifetime = "10m"
# ///
SHOUT = '''
def main(api):
    for piece in api: api.send(piece.upper())
'''

def shouted(child, word):
    with child.invoke() as call:
        call.send(word)
        call.close_input()
        return call.read().decode()

def main(api, box: str):
    names = sorted(place.nickname for place in api.boxes.list())
    child = api.boxes.install(SHOUT, box, lease=6)
    api.send(f"{child.ticket} {shouted(child, ' '.join(names))}.")
    for word in api:
        api.send(shouted(child, word) + ".")
"""


async def sentence(session):
    said = ""
    async for piece in session:
        said += piece.decode()
        if said.endswith("."):
            break
    return said


async def has_ended(box, ticket):
    try:
        session = await box.instance(ticket).invoke()
        await session.close_input()
        await session.read()
    except BentoError as error:
        return "no such token" in error.detail
    return False


async def test_a_child_on_another_box_outlives_a_kill_of_bentod_and_ends_with_its_parent(
    network, tmp_path
):
    endpoints = TorEndpoints(*network.user_tor())
    async with (
        await Network.open(endpoints, cache=tmp_path / "boxes.json") as user,
        await user.box("box0") as first,
        await user.box("box1", shared=True) as second,
    ):
        parent, session = await first.run(PARENT, "box1")
        line, answer = (await sentence(session)).split(" ", 1)
        assert answer == "BOX0 BOX1 BOX2."
        ticket = Ticket.parse(line)
        assert ticket.box == second.name.box
        assert not await has_ended(second, ticket)
        os.kill((await network.status()).boxes[0].bentod_pid, signal.SIGKILL)
        await session.send(b"again")
        assert await sentence(session) == "AGAIN."
        await parent.shutdown()
        while not await has_ended(second, ticket):
            pass
    while not (await network.status()).ready:
        await asyncio.sleep(0.05)


def test_a_page_is_left_on_another_box_and_fetched_later_from_elsewhere(network, tmp_path):
    with web_site({"/": b"<title>left</title><p>for later"}) as (site, visits):
        words = ("--leave-in-dropbox", "--box", "box0", "--dropbox", "box1", "--timing", "none")
        left = bento("browse", f"{site}/", *words, "--json")
        assert left.status == 0, left.err
        assert (left.json["box"], left.json["dropbox"]) == ("box0", "box1")
        fetched = bento("browse", "--from", left.json["ticket"], "-o", tmp_path, "--json")
        assert fetched.status == 0, fetched.err
        assert (fetched.json["title"], fetched.json["box"]) == ("left", "box1")
        assert b"for later" in (tmp_path / "page.warc").read_bytes()
        seen = len(visits)
        again = bento("browse", "--from", left.json["ticket"])
        assert (again.status, len(visits)) == (BoxError.exit_status, seen)
