"""The thirteen: each with a C-tor of its own, one second apart, one download each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tests.onion.serving import socks

from experiments.balancer.measures import Download

_PIECE = 16 * 1024
_LIMIT_SECONDS = 280.0


async def everybody(
    proxies: list[tuple[str, int]],
    addresses: Callable[[int], str],
    size: int,
    spacing: float = 1.0,
) -> list[Download]:
    """All downloads of `/file` (`size` bytes), from addresses that may differ by client."""
    start = time.monotonic()

    async def one(number: int, proxy: tuple[str, int]) -> Download:
        await asyncio.sleep(number * spacing)
        began = time.monotonic() - start
        curve = await _download(proxy, addresses(number), size, start)
        return Download(number, began, time.monotonic() - start, curve)

    async with asyncio.timeout(_LIMIT_SECONDS):
        return list(await asyncio.gather(*(one(n, p) for n, p in enumerate(proxies))))


async def _download(
    proxy: tuple[str, int], address: str, size: int, start: float
) -> tuple[tuple[float, int], ...]:
    reader, writer = await socks(proxy, address, 80)
    try:
        writer.write(f"GET /file HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        curve: list[tuple[float, int]] = []
        got = 0
        while piece := await reader.read(_PIECE):
            got += len(piece)
            curve.append((time.monotonic() - start, got))
        if got != size:
            raise ConnectionError(f"{got} of {size} bytes came")
        return tuple(curve)
    finally:
        writer.close()
