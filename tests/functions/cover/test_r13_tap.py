"""R13: whoever watches the line before the guard cannot tell whether anything is done under Cover.

Two users cover streams to one box, each behind a tap; an errand runs in turns under one and under the other. So
every block is as busy as the next, and an observer of one line has to tell in which blocks it is his. The second
user's sender does a little in the slot when there is something to send: the same observer must catch him.
"""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.e2e.test_p3_round_trips import options_of_the_user_tor
from tests.functions.cover import observer

from bento.cli.cover import POLITE
from bento.functions.cover.frames import CELL
from bento.functions.cover.terms import Terms, read_slot
from bento.tor.process import TorProcess

pytestmark = pytest.mark.network

RATES = "100 cells/s", "97 cells/s"
"""Not the same: what one user does would always fall on the same moments of the other's slots."""

BUSY = 0.5
"""Of the rate, what the errand sends and gets."""

SLOTS = [Terms(read_slot(rate)).slot / 1e9 for rate in RATES]
"""Seconds."""

WINDOW, SETTLED = 0.1, 0.2
"""Seconds that are looked at together; seconds of a block for what was begun in the one before."""

SECONDS = 0.8
"""Of a block. 120 blocks of two seconds gave an interval of +-0.045, of one second +-0.03: short ones, and more
of them, as what else is in the air changes little between neighbours."""

LEAK = 0.004
"""Seconds more that a leaky sender takes in a slot that carries data."""

PIECES = (60, LEAK), (280, 0.0)
"""(blocks, leak) of the leaky senders, and of Cover. Two lines are watched in each: 280 blocks give about
+-0.02, so that a guesser passes and 0.53 does not. The leaky ones are apart: they miss slots when they have
something to do, and what they do not send holds up nobody else, which would be seen on the other line."""

LEAKY, COVER = range(len(PIECES))


@contextlib.asynccontextmanager
async def program(name, *words, niceness=0):
    """One of this folder's programs, and its output; ended by SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"tests.functions.cover.{name}", *map(str, words)),
        stdout=asyncio.subprocess.PIPE,
    )
    os.setpriority(os.PRIO_PROCESS, process.pid, niceness)
    try:
        yield process.stdout
    finally:
        if not process.stdout.at_eof():
            process.send_signal(signal.SIGTERM)
        await process.wait()


@contextlib.asynccontextmanager
async def watched(network, folder, rate, delay):
    """A user of Cover with a tor of his own behind a tap; the path of his Cover's socket."""
    folder.mkdir(mode=0o700)
    async with program("tap", folder / "notes") as tap:
        options = [
            *options_of_the_user_tor(network),
            f"Socks5Proxy {(await tap.readline()).decode().strip()}",
            f"SocksPort unix:{folder / 'socks'}",
            "ConnectionPadding 0",
        ]
        async with TorProcess(options, folder / "tor", "a user behind a tap") as tor:
            await tor.bootstrapped()
            endpoints = tor.control_address, f"unix:{folder / 'socks'}"
            async with program("covered", *endpoints, "box0", folder, rate, delay) as said:
                assert await said.readline() == b"ready\n"
                yield folder / "socket"


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """Where pieces of the campaign are kept: R13_PIECES, so that it need not be done at one go."""
    kept = os.environ.get("R13_PIECES")
    return Path(kept) if kept else tmp_path_factory.mktemp("pieces")


@pytest.mark.campaign
@pytest.mark.parametrize("piece", range(len(PIECES)))
async def test_r13_a_piece_is_watched(network, pieces, tmp_path, piece):
    """Four minutes and a half, the longer one."""
    blocks, leak = PIECES[piece]
    folders = tmp_path / "1", tmp_path / "2"
    pace = BUSY * CELL / max(SLOTS)
    async with (
        watched(network, folders[0], RATES[0], leak) as one,
        watched(network, folders[1], RATES[1], leak) as other,
        program("errand", blocks, SECONDS, pace, piece, one, other, niceness=POLITE) as errand,
    ):
        begun = np.array([line.split() for line in (await errand.read()).splitlines()], int)
    assert len(begun) == blocks + 1
    cells = [observer.read(folder / "notes") for folder in folders]
    ways = {f"{who} {way}": cells[who][way] for who in (0, 1) for way in (1, -1)}
    np.savez_compressed(pieces / f"{piece}.npz", begun=begun, **ways)


def seen(pieces, piece):
    """What the observers of both lines saw, as windows to be judged: together, as blocks of one moment
    suffered the same."""
    found = []
    with np.load(pieces / f"{piece}.npz") as noted:
        for who, slot in enumerate(SLOTS):
            blocks = [(time / 1e9, which == who) for time, which in noted["begun"]]
            cells = {way: noted[f"{who} {way}"] for way in (1, -1)}
            found.append(observer.windows(cells, blocks, slot, WINDOW, SETTLED))
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


@pytest.mark.campaign
def test_r13_idle_and_active_are_alike_before_the_guard(pieces):
    leaky, cover = (observer.judge(*seen(pieces, piece)) for piece in (LEAKY, COVER))
    alike = observer.judge(*observer.idle_alone(*seen(pieces, COVER)))
    mean, spread = observer.by_chance(*seen(pieces, COVER))
    print(f"cover: {cover}; leaky by 4 ms: {leaky}")
    print(f"idle v. idle: {alike}; by chance: {mean:.3f} +- {spread:.3f}")
    assert leaky.low > 0.6 and leaky.chance < 0.001
    assert alike.low < 0.55, "what is the same is told apart: nothing else counts then"
    assert max(cover.high, cover.auc + 1.96 * spread) < 0.55
