"""A file as sealed blocks: whole, or refused."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import RemoteProtocolError, UsageError
from bento.functions.dropbox.sealing import (
    BLOCK,
    HEADER,
    TAG,
    Content,
    Opener,
    derive_key,
    seal,
    sealed_offset,
)

SECRET = bytes(32)
sizes = st.one_of(
    st.integers(0, 300),
    st.sampled_from([BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 17]),
)


def described(data, padding=0, name="a name"):
    return Content(name, len(data), hashlib.sha256(data).digest(), len(data) + padding)


def sealed(data, padding=0, pieces=None):
    content = described(data, padding)
    key = derive_key(SECRET, content)
    return key, content, list(seal(key, content, pieces or [data]))


def opened(key, data, **where):
    opener = Opener(key, **where)
    plain = b"".join(opener.feed(data))
    return opener, plain


@given(size=sizes, padding=st.integers(0, 2 * BLOCK), cut=st.integers(1, 100_000))
def test_what_was_sealed_comes_out_however_it_is_cut(size, padding, cut):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
    key, content, blocks = sealed(data, padding, pieces)
    whole = b"".join(blocks)
    assert len(whole) == content.sealed_size
    opener = Opener(key)
    plain = b"".join(
        piece for at in range(0, len(whole), cut) for piece in opener.feed(whole[at : at + cut])
    )
    assert (plain, opener.whole, opener.content) == (data, True, content)


def test_fed_byte_by_byte_it_is_the_same():
    key, content, blocks = sealed(b"some bytes", 5)
    opener = Opener(key)
    fed = [b"".join(opener.feed(bytes([byte]))) for byte in b"".join(blocks)]
    assert b"".join(fed) == b"some bytes"
    assert opener.whole


@given(size=sizes, padding=st.integers(0, BLOCK))
def test_blocks_begin_where_they_are_said_to(size, padding):
    _, content, blocks = sealed(bytes(size), padding)
    starts = [sum(map(len, blocks[:number])) for number in range(len(blocks))]
    assert starts == [sealed_offset(number) for number in range(content.blocks + 1)]


@given(size=sizes, padding=st.integers(0, BLOCK), block=st.integers(1, 5))
def test_it_can_be_opened_from_any_block_on(size, padding, block):
    data = hashlib.shake_128(b"x").digest(size)
    key, content, blocks = sealed(data, padding)
    first = min(block, content.blocks)
    opener, plain = opened(key, b"".join(blocks[first:]), content=content, first=first)
    assert plain == data[(first - 1) * BLOCK :]
    assert opener.whole


def test_a_box_that_alters_swaps_cuts_or_prolongs_is_noticed():
    key, _, blocks = sealed(hashlib.shake_128(b"y").digest(3 * BLOCK + 5))
    for number, block in enumerate(blocks):
        for byte in (0, len(block) // 2, len(block) - 1):
            wrong = bytearray(block)
            wrong[byte] ^= 1
            with pytest.raises(RemoteProtocolError, match=f"block {number} "):
                opened(key, b"".join([*blocks[:number], wrong, *blocks[number + 1 :]]))
    with pytest.raises(RemoteProtocolError, match="block 1 "):
        opened(key, b"".join([blocks[0], blocks[2], blocks[1], *blocks[3:]]))
    with pytest.raises(RemoteProtocolError, match="follow the end"):
        opened(key, b"".join(blocks) + b"x")
    opener, _ = opened(key, b"".join(blocks[:-1]))
    assert not opener.whole


def test_the_last_block_is_marked_and_no_other():
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    key, content, blocks = sealed(bytes(2 * BLOCK))
    for number, block in enumerate(blocks):
        mark = bytes([number == content.blocks])
        ChaCha20Poly1305(key).decrypt(number.to_bytes(11, "big") + mark, block, None)


def test_blocks_of_two_files_do_not_mix():
    first_key, _, first = sealed(b"a" * 2 * BLOCK)
    second_key, _, second = sealed(b"b" * 2 * BLOCK)
    assert first_key != second_key
    with pytest.raises(RemoteProtocolError):
        opened(first_key, b"".join([first[0], second[1], first[2]]))


@pytest.mark.parametrize("read", [b"other", b"longer than it was", b"less", b""])
def test_a_file_that_changes_while_it_is_read_is_not_sealed(read):
    content = described(b"bytes")
    with pytest.raises(UsageError, match="changed while it was read"):
        list(seal(derive_key(SECRET, content), content, [read]))


def test_the_same_secret_never_seals_two_contents_under_one_key():
    contents = [
        described(b"a"),
        described(b"b"),
        described(b"a", 1),
        described(b"a", name="another"),
    ]
    assert len({derive_key(SECRET, content) for content in contents}) == len(contents)


@given(st.binary(max_size=2000))
def test_any_bytes_give_a_file_or_the_declared_error(data):
    for opener in (Opener(SECRET), Opener(SECRET, described(b"12345"), 1)):
        try:
            list(opener.feed(data))
        except RemoteProtocolError:
            pass


def test_a_sender_cannot_make_the_receiver_believe_nonsense():
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    good = (1, 5, 5, bytes(32), 1, b"n")
    for bad in ((1, 6, 5), (1, 5, 1 << 60), (2, 5, 5)):
        header = HEADER.pack(*bad, *good[3:])
        with pytest.raises(RemoteProtocolError):
            opened(SECRET, ChaCha20Poly1305(SECRET).encrypt(bytes(12), header, None))


def test_a_header_and_a_tag_are_what_sealing_adds():
    _, content, _ = sealed(b"")
    assert content.sealed_size == HEADER.size + 2 * TAG
