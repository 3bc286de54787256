"""Which route a request to a box takes: one function, one route.

Invariant: no two functions share a route, unless there is nothing but one route to share. A function is
known here by its tokens; a token that is new is taken for another function's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bento.client.route import Route


class Routes:
    """The first function takes `first`, the others what `another` makes as they come; without
    `another` all share the first."""

    def __init__(self, first: Route, another: Callable[[], Awaitable[Route]] | None) -> None:
        self._first = first
        self._another = another
        self._taken = False  # whether some function has the first
        self._opened = [first]
        self._by_token: dict[bytes, Route] = {}
        self._choosing = asyncio.Lock()

    async def new(self) -> Route:
        """For a function that has no token yet; `belongs` tells it later."""
        async with self._choosing:
            return await self._next()

    async def of(self, token: bytes) -> Route:
        """The one of this token's function."""
        async with self._choosing:
            if token not in self._by_token:
                self._by_token[token] = await self._next()
            return self._by_token[token]

    def belongs(self, route: Route, *tokens: bytes) -> None:
        """What is asked with these tokens goes this way."""
        self._by_token |= dict.fromkeys(tokens, route)

    async def close(self) -> None:
        while self._opened:
            await self._opened.pop().close()

    async def _next(self) -> Route:
        if self._another is None or not self._taken:
            self._taken = True
            return self._first
        self._opened.append(await self._another())
        return self._opened[-1]
