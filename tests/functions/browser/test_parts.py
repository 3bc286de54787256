"""A page in parts: each is there as soon as it was sent, and together they are the page."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.functions.browser import parts as module
from bento.functions.browser.pack import MAX_EXCHANGES, Exchange, Pack, PackError
from bento.functions.browser.packing import HEADER, MAGIC, encode
from bento.functions.browser.parts import PartsReader, PartsSender
from bento.functions.browser.sizes import MAX_ANSWER_BYTES

BLANK = Pack(url="http://a.test/", date=7)


def got(name: str, body: bytes = b"body") -> Exchange:
    return Exchange("GET", f"http://a.test/{name}", status=200, body=body)


ONE, TWO, THREE = got("one"), got("two"), got("three")
WHOLE = replace(
    BLANK,
    title="A page",
    final_url="http://a.test/one",
    picture=b"picture",
    exchanges=(ONE, TWO, THREE),
)


def sent(*given: tuple[Exchange, ...], whole: Pack) -> bytes:
    pieces: list[bytes] = []
    sender = PartsSender(pieces.append)
    for exchanges in given:
        sender.give(replace(BLANK, exchanges=exchanges))
    sender.finish(whole)
    return b"".join(pieces)


def read(answer: bytes, step: int = 1 << 20) -> tuple[Pack, list[Pack]]:
    parts: list[Pack] = []
    reader = PartsReader(parts.append)
    for at in range(0, len(answer), step):
        reader.feed(answer[at : at + step])
    return reader.finish(), parts


def packed(pack: Pack) -> bytes:
    return b"".join(encode(pack, "none"))


def test_what_came_is_sent_once_and_the_rest_at_the_end() -> None:
    pack, parts = read(sent((TWO,), (), (TWO, ONE), whole=WHOLE))
    assert [part.exchanges for part in parts] == [(TWO,), (ONE,), (THREE,), ()]
    assert pack == replace(WHOLE, exchanges=(TWO, ONE, THREE))


def test_what_was_asked_twice_and_came_otherwise_is_sent_twice() -> None:
    other = got("one", b"another body")
    pack, _ = read(sent((ONE,), (other,), whole=replace(WHOLE, exchanges=(ONE, other))))
    assert pack.exchanges == (ONE, other)


@given(st.integers(1, 400))
def test_in_pieces_of_any_size(step: int) -> None:
    answer = sent((ONE,), whole=WHOLE)
    assert read(answer, step) == read(answer)


def test_a_page_that_is_cut_off_is_none() -> None:
    answer = sent((ONE,), whole=WHOLE)
    for end in (0, 10, len(answer) - 1, answer.rindex(MAGIC)):
        with pytest.raises(PackError, match="too early"):
            read(answer[:end])


def test_a_response_that_is_too_large_for_a_pack_is_missing_and_the_rest_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def strict(pack: Pack, padding: str) -> list[bytes]:
        if TWO in pack.exchanges:
            raise PackError("too large")
        return encode(pack, padding)

    monkeypatch.setattr(module, "encode", strict)
    pack, _ = read(sent((ONE,), (TWO,), whole=WHOLE))
    assert pack.exchanges == (ONE, THREE)


LAST = packed(BLANK)
HALF = packed(replace(BLANK, exchanges=tuple(got(str(n)) for n in range(MAX_EXCHANGES // 2 + 1))))


@pytest.mark.parametrize(
    "answer",
    [b"x" * HEADER.size, HEADER.pack(MAGIC, MAX_ANSWER_BYTES + 1), LAST + b"\0", HALF + HALF],
    ids=["no pack", "too long", "goes on after its end", "too many exchanges"],
)
def test_what_is_no_page_is_refused(answer: bytes) -> None:
    with pytest.raises(PackError):
        read(answer)


def test_parts_hold_no_more_than_one_page_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes may unpack to many megabytes, each time."""
    one, two = (packed(replace(BLANK, exchanges=(got(n, bytes(10_000)),))) for n in ("a", "b"))
    monkeypatch.setattr(module, "MAX_CONTENT_BYTES", 15_000)
    with pytest.raises(PackError, match="larger than any page"):
        read(one + two + LAST)
    assert len(one + two) < 1000
