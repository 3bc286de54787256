"""R13: whoever watches the line before the guard cannot tell whether anything is done under Cover.

Two users cover streams to one box, each behind a tap; an errand runs in turns under one and under the other. So
every block is as busy as the next, and an observer of one line has to tell in which blocks it is his. The second
user's sender does a little in the slot when there is something to send: the same observer must catch him.
"""

import asyncio
import contextlib
import signal
import sys

import pytest
from tests.e2e.test_p3_round_trips import options_of_the_user_tor
from tests.functions.cover import observer

from bento.functions.cover.frames import CELL
from bento.functions.cover.terms import Terms, read_slot
from bento.tor.process import TorProcess

pytestmark = pytest.mark.network

RATES = "100 cells/s", "97 cells/s"
"""Not the same: what one user does would always fall on the same moments of the other's slots."""

BUSY = 0.5
"""Of the rate, what the errand sends and gets."""

WINDOW, SETTLED = 0.1, 0.2
"""Seconds that are looked at together; seconds of a block for what was begun in the one before."""


@contextlib.asynccontextmanager
async def program(name, *words):
    """One of this folder's programs, and its output; ended by SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"tests.functions.cover.{name}", *map(str, words)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process.stdout
    finally:
        if not process.stdout.at_eof():
            process.send_signal(signal.SIGTERM)
        await process.wait()


@contextlib.asynccontextmanager
async def echo():
    """Its HOST:PORT, on the web of the private network."""

    async def back(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
        writer.close()

    async with await asyncio.start_server(back, "127.80.13.1", 0) as server:
        yield f"127.80.13.1:{server.sockets[0].getsockname()[1]}"


@contextlib.asynccontextmanager
async def watched(network, folder, rate, delay, far):
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
            async with program("covered", *endpoints, "box0", folder, rate, delay, far) as said:
                assert await said.readline() == b"ready\n"
                yield folder / "socket"


async def watch(network, folder, *, blocks, seconds, delay):
    """(what the observer saw of the Cover, and of the leaky one), each as windows to be judged."""
    slots = [Terms(read_slot(rate)).slot / 1e9 for rate in RATES]
    folders = folder / "1", folder / "2"
    async with (
        echo() as far,
        watched(network, folders[0], RATES[0], 0, far) as one,
        watched(network, folders[1], RATES[1], delay, far) as other,
        program("errand", blocks, seconds, BUSY * CELL / max(slots), one, other) as errand,
    ):
        said = (await errand.read()).decode().splitlines()
    assert len(said) == blocks + 1
    begun = [(int(time) / 1e9, int(which)) for time, which in map(str.split, said)]
    seen = []
    for number, slot in enumerate(slots):
        cells = observer.read(folders[number] / "notes")
        kinds = [(time, which == number) for time, which in begun]
        seen.append(observer.windows(cells, kinds, slot, WINDOW, SETTLED))
    return seen


@pytest.mark.campaign
async def test_r13_idle_and_active_are_alike_before_the_guard(network, tmp_path):
    """Four minutes, 120 blocks, about 2,000 windows."""
    found, found_leaky = await watch(network, tmp_path, blocks=120, seconds=2.0, delay=0.004)
    cover, leaky = observer.judge(*found), observer.judge(*found_leaky)
    print(f"cover: {cover}; leaky by 4 ms: {leaky}")
    assert leaky.low > 0.6 and leaky.chance < 0.001
    assert cover.high < 0.55 and cover.chance > 0.05
