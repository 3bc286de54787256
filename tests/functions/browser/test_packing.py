"""A pack comes back as it was sent, is exactly of a public size, and nothing else is a pack."""

import random
import struct
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.functions.browser.whole import whole

from bento.functions.browser import pack as packs
from bento.functions.browser.limits import LIMITS
from bento.functions.browser.pack import (
    ERRORS,
    Cut,
    Exchange,
    Failure,
    Pack,
    PackError,
    plain,
)
from bento.functions.browser.packing import (
    HEADER,
    MAGIC,
    MAX_CONTENT_BYTES,
    PackReader,
    decode,
    encode,
)
from bento.functions.browser.sizes import (
    KIB,
    MAX_ANSWER_BYTES,
    MIB,
    SIZE_SETS,
    WARM_UP_BYTES,
    padded_size,
    warm_up,
)

paddings = st.sampled_from(sorted(SIZE_SETS))
words = st.from_regex(r"[a-z_]{1,32}", fullmatch=True)
plains = st.text(max_size=60).map(plain)
urls = st.from_regex(r"https?://[!-~]{1,80}", fullmatch=True)
tokens = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", fullmatch=True)
values = st.text(st.characters(blacklist_characters="\0\r\n", codec="utf-8"), max_size=40)
headers = st.lists(st.tuples(tokens, values), max_size=5).map(tuple)
bodies = st.binary(max_size=2000)
asked = {"method": tokens, "url": urls, "request_headers": headers, "request_body": bodies}
responses = st.builds(
    Exchange,
    **asked,
    status=st.integers(100, 999),
    reason=plains,
    headers=headers,
    body=bodies,
    cut=st.just("") | words,
)
errors = st.builds(Exchange, **asked, error=st.sampled_from(sorted(ERRORS)))
some_packs = st.builds(
    Pack,
    url=urls,
    final_url=st.just("") | urls,
    title=plains,
    date=st.integers(0, packs.MAX_DATE),
    software=plains,
    failure=st.none() | st.builds(Failure, words, plains.filter(bool)),
    cuts=st.lists(st.builds(Cut, words, plains), max_size=4).map(tuple),
    exchanges=st.lists(responses | errors, max_size=8).map(tuple),
    picture=bodies,
    mhtml=bodies,
)

PAGE = Pack(
    url="http://a.test/",
    final_url="http://a.test/b",
    title="A title",
    date=1_700_000_000,
    exchanges=(
        Exchange("GET", "http://a.test/", status=301, headers=(("Location", "/b"),)),
        Exchange("GET", "http://a.test/b", status=200, body=b"<p>hello" * 100),
        Exchange("GET", "http://a.test/c", error="Failed"),
    ),
)


def outcome(reader: PackReader, pieces: list[bytes]) -> Pack | str:
    try:
        for piece in pieces:
            reader.feed(piece)
        return reader.finish()
    except PackError as error:
        return str(error)


@given(some_packs, paddings)
def test_a_pack_comes_back_as_it_was_sent(pack: Pack, padding: str) -> None:
    assert decode(whole(pack, padding), padding) == pack


@given(some_packs, paddings)
def test_an_answer_is_exactly_of_a_public_size_with_all_its_headers(
    pack: Pack, padding: str
) -> None:
    size = sum(map(len, encode(pack, padding)))
    assert size == padded_size(padding, size)


@pytest.mark.parametrize("size", range(1, 4000, 371))
@pytest.mark.parametrize("padding", ["x2", "1MB"])
def test_pages_of_one_member_cannot_be_told_apart_by_size(size: int, padding: str) -> None:
    page = replace(PAGE, picture=bytes(range(256)) * size)
    assert sum(map(len, encode(page, padding))) == sum(map(len, encode(PAGE, padding)))


@settings(max_examples=200)
@given(st.binary(max_size=300), st.lists(st.integers(0, 299), max_size=6), paddings)
def test_any_bytes_give_a_pack_or_the_declared_error_whole_or_in_pieces(
    noise: bytes, cuts: list[int], padding: str
) -> None:
    frame = zstandard.ZstdCompressor().compress(noise)
    ahead = bytes(warm_up(padding))
    for answer in (noise, ahead + MAGIC + noise, ahead + HEADER.pack(MAGIC, len(frame)) + frame):
        edges = sorted({0, len(answer), *(c % (len(answer) + 1) for c in cuts)})
        pieces = [answer[a:b] for a, b in zip(edges, edges[1:], strict=False)]
        known = max(0, len(ahead) - 2)  # bytewise from where it matters
        bytewise = [answer[:known], *(answer[i : i + 1] for i in range(known, len(answer)))]
        at_once = outcome(PackReader(padding), [answer])
        assert outcome(PackReader(padding), pieces) == at_once
        assert outcome(PackReader(padding), bytewise) == at_once


@settings(max_examples=300)
@given(st.data())
def test_a_changed_content_gives_another_pack_or_the_declared_error(data: st.DataObject) -> None:
    """The content is changed before it is compressed: the frame's checksum would catch the rest."""
    content = bytearray(_content(PAGE))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    kept = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    try:
        found = decode(_answer(bytes(content[:kept])), "none")
    except PackError:
        return
    assert _content(found) == bytes(content[:kept]), "two contents of one pack"


@given(st.binary(min_size=1, max_size=9))
def test_nothing_follows_the_last_field(more: bytes) -> None:
    with pytest.raises(PackError, match="goes on"):
        decode(_answer(_content(PAGE) + more), "none")


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_answer_is_refused(at: int, change: int) -> None:
    answer = bytearray(whole(PAGE, "x2"))
    answer[at % len(answer)] ^= change
    with pytest.raises(PackError):
        decode(bytes(answer), "x2")


@pytest.mark.parametrize("padding", sorted(SIZE_SETS))
def test_a_box_that_pads_otherwise_is_caught(padding: str) -> None:
    noise = random.Random(1).randbytes(400 * KIB)  # every set has another member for it
    for other in set(SIZE_SETS) - {padding}:
        with pytest.raises(PackError, match="size"):
            decode(
                bytes(warm_up(padding)) + b"".join(encode(replace(PAGE, picture=noise), other)),
                padding,
            )


def test_a_box_cannot_mark_a_page_by_a_larger_member() -> None:
    answer = whole(PAGE, "x2")
    with pytest.raises(PackError, match="size"):
        decode(answer + bytes(256 * KIB), "x2")


@pytest.mark.parametrize("ahead", [b"", bytes(1000), bytes(WARM_UP_BYTES - 1) + b"\1"])
def test_a_box_cannot_mark_a_page_by_another_warm_up(ahead: bytes) -> None:
    with pytest.raises(PackError):
        decode(ahead + b"".join(encode(PAGE, "x2")), "x2")


@pytest.mark.parametrize("padding", sorted(SIZE_SETS))
def test_an_answer_is_whole_with_its_last_byte_and_not_before(padding: str) -> None:
    answer = whole(PAGE, padding)
    reader = PackReader(padding)
    reader.feed(answer[:-1])
    assert not reader.is_whole
    reader.feed(answer[-1:])
    assert reader.is_whole
    assert reader.size == padded_size(padding, reader.size) == len(answer) - warm_up(padding)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    """4 KiB that would be 128 MiB; and one that does not say what it would be."""
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(128 * MIB))
    assert len(bomb) < 16 * 1024
    with pytest.raises(PackError, match="too large"):
        decode(HEADER.pack(MAGIC, len(bomb)) + bomb, "none")
    secret = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000))
    with pytest.raises(PackError, match="unknown size"):
        decode(HEADER.pack(MAGIC, len(secret)) + secret, "none")


def test_a_frame_that_lies_about_its_size_is_refused() -> None:
    frame = bytearray(zstandard.ZstdCompressor().compress(_content(PAGE)))
    claimed = zstandard.get_frame_parameters(bytes(frame)).content_size
    at = bytes(frame).index(struct.pack("<H", claimed - 256))
    frame[at : at + 2] = struct.pack("<H", 0)
    with pytest.raises(PackError):
        decode(HEADER.pack(MAGIC, len(frame)) + bytes(frame), "none")


def test_an_endless_answer_is_refused_where_the_largest_ends() -> None:
    reader = PackReader("1MB")
    reader.feed(HEADER.pack(MAGIC, MAX_ANSWER_BYTES - HEADER.size))
    block = bytes(MIB)
    with pytest.raises(PackError, match="larger"):
        for _ in range(200):
            reader.feed(block)


def test_an_impossible_length_is_refused_with_the_header() -> None:
    with pytest.raises(PackError, match="larger"):
        PackReader("1MB").feed(HEADER.pack(MAGIC, 1 << 63))


def test_padding_costs_no_memory() -> None:
    pieces = encode(PAGE, "7MB")
    assert len({id(piece) for piece in pieces}) < 10


def test_the_guests_limits_are_within_the_formats_bounds() -> None:
    assert LIMITS.responses <= packs.MAX_EXCHANGES
    assert max(LIMITS.response_bytes, LIMITS.request_bytes, LIMITS.picture_bytes,
               LIMITS.mhtml_bytes) <= packs.MAX_BODY_BYTES  # fmt: skip
    largest = LIMITS.page_bytes + LIMITS.picture_bytes + LIMITS.mhtml_bytes
    assert largest + 10 * MIB < MAX_CONTENT_BYTES


def test_a_page_beyond_the_bounds_is_not_packed() -> None:
    body = Exchange("GET", "http://a.test/", status=200, body=bytes(24 * MIB))
    with pytest.raises(PackError, match="too large"):
        encode(replace(PAGE, exchanges=(body,) * 4), "x2")


def _content(pack: Pack) -> bytes:
    answer = b"".join(encode(pack, "none"))
    return zstandard.ZstdDecompressor().decompress(answer[HEADER.size :])


def _answer(content: bytes) -> bytes:
    frame = zstandard.ZstdCompressor().compress(content)
    return HEADER.pack(MAGIC, len(frame)) + frame
