"""What the parts of a box share, at a real one: memory, the uplink, the ready sandboxes."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from tests.local_box import local_box
from tests.waiting import until

from bento.box import issuer as issuers
from bento.box.config import Admission, PassIssuer
from bento.box.sandboxes import Turns
from bento.client.wallet import Wallet
from bento.errors import BusyError
from bento.protocol.passes import Answer, Ask

MIB = 1 << 20
IDLE = b"def main(api):\n    api.recv()\n"
LARGE = b"# /// bento\n# memory = '150 MiB'\n# ///\n" + IDLE
LOUD = b"def main(api):\n    while True:\n        api.send(bytes(1 << 16))\n"


@pytest.fixture(scope="module")
def club(tmp_path_factory):
    folder = tmp_path_factory.mktemp("club")
    issuers.found(folder, "club", epoch=86400, epochs=2, uses=8)
    return folder


@contextlib.asynccontextmanager
async def shared_box(club, tmp_path, **capacity):
    """(a box, a stranger's handle, a member's): three places for everybody, and three of weight 4."""
    issuer = PassIssuer(Path(club) / issuers.CARD, places=3, weight=4.0)
    admission = Admission(issuers=(issuer,))
    async with local_box(admission, instances=6, **capacity) as local:
        signer = issuers.Issuer(club)
        with contextlib.closing(Wallet(tmp_path / "wallet")) as wallet:
            ask = Ask.parse(wallet.ask(signer.card).encode())
            wallet.accept(Answer.parse(signer.sign(ask, tmp_path.name).encode()))
            stranger, member = local.box, local.box
            stranger.patience = member.patience = 0
            member.wallet = wallet
            yield local, stranger, member


@contextlib.contextmanager
def a_price(local):
    """So that members show their passes."""

    def dear(solution, manifest):
        raise BusyError("the box is busy", wait=1)

    local.turnstile._charge = dear
    try:
        yield
    finally:
        del local.turnstile._charge


async def test_each_part_gives_out_its_share_of_the_memory(club, tmp_path):
    """500 MiB: 100 for everybody, 400 for the club."""
    async with shared_box(club, tmp_path, total_memory="500 MiB") as (local, stranger, member):
        first = await stranger.install(IDLE)
        with pytest.raises(BusyError, match="the memory of the box is given out") as refused:
            await stranger.install(IDLE)
        assert refused.value.wait
        with a_price(local):
            await member.install(LARGE)
            await member.install(LARGE)
            with pytest.raises(BusyError, match="memory of what the box keeps for such passes"):
                await member.install(LARGE)
            await member.install(IDLE)
        await first.shutdown()
        await stranger.install(LARGE)  # where nothing runs, one of any size


async def test_a_restarted_box_still_knows_what_it_gave_out(club, tmp_path):
    async with shared_box(club, tmp_path) as (local, stranger, _):
        await stranger.install(IDLE)
        (entry,) = await local.journal.entries()
        assert local.instances.promised("") == 64 * MIB
        local.instances._returning[b"other"] = entry, None
        assert local.instances.promised("") == 128 * MIB
        del local.instances._returning[b"other"]


async def test_a_full_uplink_is_shared_by_weight(club, tmp_path):
    async with shared_box(club, tmp_path, bandwidth="1 MiB") as (local, stranger, member):
        _, strangers = await stranger.run(LOUD)
        with a_price(local):
            _, members = await member.run(LOUD)
        light, heavy = sorted(local.instances, key=lambda one: one.terms.weight)
        reading = [asyncio.create_task(_drain(session)) for session in (strangers, members)]
        await until(lambda: min(light.bytes_out, heavy.bytes_out) > MIB // 8)
        before = light.bytes_out, heavy.bytes_out
        await until(lambda: light.bytes_out - before[0] > MIB // 2)
        ratio = (heavy.bytes_out - before[1]) / (light.bytes_out - before[0])
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        assert ratio > 2  # 4, but for what passes while a busy machine has its pauses


async def _drain(session):
    async for _ in session:
        pass


async def test_no_part_takes_the_last_ready_sandbox(club, tmp_path):
    async with shared_box(club, tmp_path, pool=2) as (local, stranger, member):
        pool = local.sandboxes._pools["python"]
        await pool.full()
        left, take = [], pool.take

        async def taking(limits, leave):
            sandbox = await take(limits, leave)
            left.append(pool.ready)
            return sandbox

        pool.take = taking
        local.turnstile._priced = False
        await asyncio.gather(*(stranger.install(IDLE) for _ in range(3)))
        assert min(left) >= 1


def test_one_ready_sandbox_is_left_for_each_part_that_had_none():
    turns = Turns({"", "club", "guild"})
    assert turns.leave("", ready=3, size=3) == 2
    assert turns.leave("", ready=2, size=3) == 2
    assert turns.leave("club", ready=2, size=3) == 1
    assert turns.leave("guild", ready=1, size=3) == 0
    assert turns.leave("", ready=3, size=3) == 2  # all were ready again


def test_but_never_so_many_that_nobody_gets_one():
    assert Turns({"", "club"}).leave("", ready=1, size=1) == 0
    assert Turns({"", "club", "guild"}).leave("", ready=2, size=2) == 1
    assert Turns({""}).leave("", ready=1, size=2) == 0
    assert Turns({"", "club"}).leave("", ready=0, size=0) == 0
