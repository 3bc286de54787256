"""Cover in a real sandbox: a cell in each slot both ways, its budget, its ends."""

import asyncio
import socket

import pytest
from tests.local_box import local_box
from tests.waiting import until

from bento.client.covered import CoveredRoute
from bento.errors import FunctionError, TorError
from bento.functions.cover import client
from bento.functions.cover.frames import CELL
from bento.functions.cover.guest import FEWEST_UNDER_WAY
from bento.functions.cover.terms import Terms

SLOT = 4_000_000  # nanoseconds


async def test_it_ends_when_its_budget_is_used_up():
    terms = Terms(SLOT, budget=200 * CELL)
    async with local_box() as local, local.box as box:
        instance, session = await client.begin(box, terms, streams=False)
        report = await client.NearEnd(session, terms).run()
        await instance.shutdown()
    # Each end counts for itself, so what is under way comes on top.
    assert 200 <= report.sent + report.received <= 200 + FEWEST_UNDER_WAY
    assert report.bytes == (report.sent + report.received) * CELL


async def test_both_ways_as_many_cells_until_the_client_stops_it():
    terms = Terms(SLOT)
    async with local_box() as local, local.box as box:
        instance, session = await client.begin(box, terms, streams=False)
        near = client.NearEnd(session, terms)
        running = asyncio.create_task(near.run())
        await until(lambda: near._frames.received >= 250)
        near.stop()
        report = await running
        await session.detach()
        await instance.shutdown()
    # Slots that this machine was too busy for are missed, by either side on its own.
    assert report.sent + report.missed == pytest.approx(report.seconds * 1e9 / SLOT, abs=3)
    assert report.received <= report.seconds * 1e9 / SLOT + FEWEST_UNDER_WAY


async def test_without_a_way_to_other_boxes_a_stream_is_refused_and_the_cover_goes_on(tmp_path):
    terms = Terms(SLOT)
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        async with local_box() as local, local.box as box:
            instance, session = await client.begin(box, terms, streams=False)
            near = client.NearEnd(session, terms, listener)
            running = asyncio.create_task(near.run())
            with pytest.raises(TorError, match="without a way to other boxes"):
                await CoveredRoute(path, "AB" * 20).open(b"early")
            with pytest.raises(TorError, match="named by its fingerprint"):
                await CoveredRoute(path, "127.0.0.1").open()
            seen = near._frames.received
            await until(lambda: near._frames.received > seen + 5)
            near.stop()
            await running
            await session.detach()
            await instance.shutdown()


async def test_a_client_that_sends_something_else_ends_it():
    async with local_box() as local, local.box as box:
        _, session = await client.begin(box, Terms(SLOT), streams=False)
        await session.send(b"\xff" * 471)
        with pytest.raises(FunctionError):
            async for _ in session:
                pass
