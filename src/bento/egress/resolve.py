"""Names to addresses, by the box, in threads of its own.

The C library's resolver blocks and cannot be stopped, and a hostile function can name servers that
never answer: so its threads are not those of the rest of the box, and a place is taken until the
thread is really free, not until somebody lost patience.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from bento.egress.addresses import IPAddress
from bento.egress.limits import MAX_ANSWERS, MAX_LOOKUPS

Resolver = Callable[[str], Awaitable[list[IPAddress]]]
"""Answers of one name in the order to try them. Raises OSError (socket.gaierror)."""


class TableResolver:
    """Names from a table, then from another resolver: a private network's own names."""

    def __init__(
        self, table: Mapping[str, Sequence[IPAddress]], fallback: Resolver | None = None
    ) -> None:
        self._table = table
        self._fallback = fallback

    async def __call__(self, name: str) -> list[IPAddress]:
        if name in self._table:
            return list(self._table[name])[:MAX_ANSWERS]
        if self._fallback is None:
            raise socket.gaierror(socket.EAI_NONAME, "the name does not resolve")
        return await self._fallback(name)


class SystemResolver:
    """The host's own resolver, as a `Resolver`. One for a whole box."""

    def __init__(self, lookups: int = MAX_LOOKUPS) -> None:
        self._threads = ThreadPoolExecutor(lookups, thread_name_prefix="egress-lookup")

    async def __call__(self, name: str) -> list[IPAddress]:
        return await asyncio.wrap_future(self._threads.submit(_look_up, name))

    def close(self) -> None:
        """Does not wait for look-ups under way; their threads end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(name: str) -> list[IPAddress]:
    # The final dot keeps the host's search list and its own short names out of it; bytes keep
    # Python's IDNA out of it: the name is in its last spelling already.
    answers = socket.getaddrinfo(f"{name}.".encode("ascii"), None, type=socket.SOCK_STREAM)
    found = dict.fromkeys(ip_address(str(address[0])) for *_, address in answers)
    return list(found)[:MAX_ANSWERS]
