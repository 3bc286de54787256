"""Ways to reach a box: a circuit that ends at its relay, or its onion service.

A route opens byte streams. `early` leaves together with the request for the stream, before anything
came back: that is what makes one round trip out of two.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bento.tor.circuits import Circuit, CircuitManager

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Route(Protocol):
    async def open(self, early: bytes = b"") -> Stream: ...

    async def close(self) -> None: ...


class CircuitRoute:
    """Streams of one circuit whose last hop is the box's own relay; of another one, got by `build`,
    once that has ended."""

    def __init__(
        self,
        circuit: Circuit,
        host: str,
        port: int,
        build: Callable[[], Awaitable[Circuit]] | None = None,
    ) -> None:
        self._circuit = circuit
        self._host = host
        self._port = port
        self._build = build
        self._building = asyncio.Lock()

    async def open(self, early: bytes = b"") -> Stream:
        async with self._building:
            if self._build is not None and self._circuit.closed.done():
                self._circuit = await self._build()
        return await self._circuit.open_stream(self._host, self._port, early)

    async def close(self) -> None:
        await self._circuit.close()


class OnionRoute:
    """Streams to the box's onion service, isolated from everything else this tor does."""

    def __init__(
        self, circuits: Callable[[], Awaitable[CircuitManager]], onion: str, port: int = 80
    ) -> None:
        self._circuits = circuits
        self._host = f"{onion}.onion"
        self._port = port
        self._isolation = secrets.token_hex(16)

    async def open(self, early: bytes = b"") -> Stream:
        circuits = await self._circuits()
        return await circuits.open_stream(self._host, self._port, early, isolation=self._isolation)

    async def close(self) -> None:
        """Nothing is held between streams."""


class UnixRoute:
    """A box on this very machine, without Tor: for its operator's own checks and for tests."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def open(self, early: bytes = b"") -> Stream:
        reader, writer = await asyncio.open_unix_connection(self._path)
        writer.write(early)
        return reader, writer

    async def close(self) -> None:
        """Nothing is held between streams."""
