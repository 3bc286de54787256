"""Waiting for what happens by itself, in tests that make no promise about how soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_HANG_GUARD = 120  # seconds


async def until(condition: Callable[[], bool], pause: float = 0.02) -> None:
    """Returns once `condition()` is true; asks again after each `pause` seconds."""
    async with asyncio.timeout(_HANG_GUARD):
        while not condition():
            await asyncio.sleep(pause)
