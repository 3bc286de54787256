"""A front takes the first order that is in its form; whatever came before is refused and forgotten."""

from __future__ import annotations

import threading
from dataclasses import asdict

import pytest

from bento.errors import FunctionError
from bento.functions.balancer import front_main
from bento.functions.balancer.fleet import Options
from bento.functions.balancer.order import Order
from bento.functions.balancer.site import FILES
from bento.onion.blinding import OnionIdentity
from bento.onion.wire import vector

KEY = OnionIdentity.from_seed(b"k" * 32)
CONTENT = vector(b"index.html", 2) + vector(b"hello", 4)
CODE = b"the replica"
WORDS = {
    "kind": FILES, "points": 0, "content": len(CONTENT), "code": len(CODE), "manifest": "",
    **asdict(Options()),
}  # fmt: skip
INPUT = bytes(KEY.to_c_tor_file()) + CONTENT + CODE


class Session:
    """An `api` whose input is known."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def boxes(self):
        return self

    def only(self, places) -> None:
        """Of `api.boxes`."""
        for place in places:
            _, _, _ = place.split()

    def recv(self, size: int) -> bytes:
        piece, self._data = self._data[:size], self._data[size:]
        return piece


@pytest.fixture
def begun(monkeypatch) -> list[Order]:
    """A front that nobody has called yet, and what it begins to serve."""
    orders: list[Order] = []
    monkeypatch.setattr(front_main, "_once", threading.Lock())
    monkeypatch.setattr(front_main, "_begin", lambda api, order, but="": orders.append(order))
    return orders


def order(data: bytes = INPUT, **words: object) -> None:
    kept = {name: value for name, value in (WORDS | words).items() if value is not ...}
    front_main.main(Session(data), "serve", **kept)


MALFORMED = {
    "no kind": ({"kind": ...}, INPUT),
    "a kind that there is not": ({"kind": 9}, INPUT),
    "a kind in words": ({"kind": "files"}, INPUT),
    "no manifest": ({"manifest": ...}, INPUT),
    "a manifest that is none": ({"manifest": "memory ="}, INPUT),
    "sizes below nothing": ({"content": -1}, INPUT),
    "sizes without end": ({"content": 1 << 40}, INPUT),
    "sizes in words": ({"code": "ten"}, INPUT),
    "no code": ({"code": 0}, INPUT),
    "points that are none": ({"points": 5}, INPUT[:96] + b"point" + INPUT[96:]),
    "an option that there is not": ({"colour": "red"}, INPUT),
    "an option of another kind": ({"most": "many"}, INPUT),
    "options that make no sense": ({"most": 0}, INPUT),
    "a number that is none": ({"high": float("nan")}, INPUT),
    "places that are none": ({"places": ["here"]}, INPUT),
    "no places": ({"places": 7}, INPUT),
    "no key": ({}, b"x" * 96 + INPUT[96:]),
    "content that is none": ({}, INPUT[:96] + b"\xff" * len(CONTENT) + CODE),
    "too little": ({}, INPUT[:-1]),
    "too much": ({}, INPUT + b"more"),
}


@pytest.mark.parametrize(("words", "data"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_order_is_refused_with_a_sentence_and_the_next_one_is_served(
    begun, words, data
):
    with pytest.raises(FunctionError):
        order(data, **words)
    assert begun == []
    order()
    (served,) = begun
    assert served.identity.address == KEY.address
    assert (served.content, served.code, served.options) == (CONTENT, CODE, Options())


def test_a_front_that_serves_takes_no_other_order(begun):
    order()
    with pytest.raises(FunctionError, match="already"):
        order()
    assert len(begun) == 1
