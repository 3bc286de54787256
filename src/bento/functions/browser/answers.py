"""Which recorded response answers a replayed request. Pure.

Invariant: an answer is one of the pack's own exchanges, for the same method and the same address
(but for the digits of a clock or a random number in its query); else there is no answer.
"""

import re
from collections.abc import Iterable
from hashlib import sha256

from .pack import Exchange, Headers

VOLATILE = re.compile(r"\d{10,}")
"""Ten digits or more in a query: a time in (milli)seconds or a random number against caches."""

_Key = tuple[str, ...]


def _range(headers: Headers) -> str:
    return next((value for name, value in headers if name.lower() == "range"), "")


def _steady(url: str) -> str:
    address, mark, query = url.partition("?")
    return address + mark + VOLATILE.sub("#", query)


def _keys(method: str, url: str, range_: str, body: bytes) -> tuple[_Key, ...]:
    """From the exact to the loose: with the same body and range, without, with a steady query."""
    return (
        ("exact", method, url, range_, sha256(body).hexdigest()),
        ("address", method, url),
        ("steady", method, _steady(url)),
    )


class _Series:
    """What came of one request, each time: given in that order, and the last one stays.

    A request that failed or was given up, and was then repeated with success, only succeeds.
    """

    def __init__(self) -> None:
        self._responses: list[Exchange] = []
        self._errors: list[Exchange] = []
        self._next = 0

    def add(self, exchange: Exchange) -> None:
        (self._errors if exchange.error else self._responses).append(exchange)

    def take(self) -> Exchange:
        series = self._responses or self._errors
        taken = series[min(self._next, len(series) - 1)]
        self._next += 1
        return taken


class Answers:
    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        self._series: dict[_Key, _Series] = {}
        self.add(exchanges)

    def add(self, exchanges: Iterable[Exchange]) -> None:
        for e in exchanges:
            for key in _keys(e.method, e.url, _range(e.request_headers), e.request_body):
                self._series.setdefault(key, _Series()).add(e)

    def find(
        self, method: str, url: str, headers: Headers, body: bytes, *, exactly: bool = False
    ) -> Exchange | None:
        """The next answer to this request, or None: then it must be blocked. `exactly`: to no request that
        is only like it."""
        for key in _keys(method, url, _range(headers), body)[: 1 if exactly else None]:
            if series := self._series.get(key):
                return series.take()
        return None
