"""P8: the processor time of coding and hashing shards v. the time that putting and getting the file takes
over Tor. Three boxes, any two suffice; the worst decoding (a part of the file is missing)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.figures import Figure, median
from benchmarks.over_tor import client_of, private_network
from bento.cli.shards import connecting
from bento.client.network import Network
from bento.functions.dropbox.client import measure as describe
from bento.functions.dropbox.client import read
from bento.functions.dropbox.sealing import seal
from bento.functions.dropbox.sink import FileSink
from bento.functions.dropbox.transfer import Rules
from bento.functions.shard.client import ShardGet
from bento.functions.shard.coding import Coder
from bento.functions.shard.layout import Plan, Tree
from bento.functions.shard.put import ShardPut

SIZE = 32 << 20
ROUNDS = 3
WORST = [1, 2, 0]  # without the first part of each stripe


@contextlib.contextmanager
def clocked(spent: list[float], *methods: tuple[type, str]) -> Iterator[None]:
    """Adds the processor time of the calls of these methods."""
    with contextlib.ExitStack() as stack:
        for owner, name in methods:
            stack.enter_context(patch.object(owner, name, _clocked(getattr(owner, name), spent)))
        yield


def _clocked(call: Any, spent: list[float]) -> Any:
    def timed(*args: Any) -> Any:
        began = time.thread_time()
        try:
            return call(*args)
        finally:
            spent[-1] += time.thread_time() - began

    return timed


async def once(network: Network, path: Path, number: int) -> tuple[float, float, float, float]:
    """(seconds of coding, of the put, of decoding, of the get)."""
    content = describe(path)
    plan = Plan(2, 3, content.sealed_size)
    put = ShardPut(f"{path} {number}", plan, Rules())
    key = put.key(content)
    entries = await network.boxes()
    connect = connecting(network)
    coding, decoding = [0.0], [0.0]
    began = time.monotonic()
    with clocked(coding, (Coder, "encode"), (Tree, "add")):
        ticket, _ = await put.run(key, lambda: seal(key, content, read(path)), connect, entries, ())
    put_seconds = time.monotonic() - began
    put.forget()
    copy = path.with_name(f"copy{number}")
    began = time.monotonic()
    with clocked(decoding, (Coder, "decode")):
        await ShardGet(ticket, str(copy)).run(connect, lambda _: FileSink(copy), WORST)
    return coding[0], put_seconds, decoding[0], time.monotonic() - began


async def series() -> list[tuple[float, float, float, float]]:
    async with private_network() as (testnet, _), client_of(testnet) as network:
        path = Path(testnet.home, "file")
        path.write_bytes(os.urandom(SIZE))
        return [await once(network, path, number) for number in range(ROUNDS)]


def measure() -> Iterator[Figure]:
    coding, put, decoding, get = zip(*asyncio.run(series()), strict=True)
    what = "coding and hashing a file (twice) v. putting it on three boxes over Tor"
    yield Figure("P8", median(coding), "s", median(put), 0.05, what=what)
    what = "decoding it without its first part v. getting it over Tor"
    yield Figure("P8", median(decoding), "s", median(get), 0.05, what=what)
