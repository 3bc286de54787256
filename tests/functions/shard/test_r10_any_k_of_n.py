"""R10: any `need` shards bring the file back, and every corrupt one is named. Pure, with the real coder."""

import hashlib
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import RemoteProtocolError, UsageError
from bento.functions.shard.coding import MAX_TOTAL, Coder
from bento.functions.shard.layout import STRIPE, Plan, ShardReader, Tree, in_stripes

CODES = [(need, total) for total in range(1, 9) for need in range(1, total + 1)]


def data(size):
    return hashlib.shake_128(b"data").digest(size)


def shards(plan, sealed):
    """(root, the shards as bytes)"""
    tree = Tree(plan)
    rows = [plan.coder.encode(stripe) for stripe in in_stripes([sealed])]
    for row in rows:
        tree.add(row)
    return tree.root, [
        tree.head(number) + b"".join(row[number] for row in rows) for number in range(plan.total)
    ]


def fragments(plan, root, number, shard):
    reader = ShardReader(plan, number, root)
    return dict(reader.feed(shard))


@pytest.mark.parametrize(("need", "total"), CODES)
def test_r10_every_choice_of_need_shards_gives_the_bytes_back(need, total):
    coder = Coder(need, total)
    for size in (1, 7, 4099):
        stripe = data(size)
        coded = coder.encode(stripe)
        assert [len(fragment) for fragment in coded] == [coder.fragment_size(size)] * total
        for chosen in combinations(range(total), need):
            assert coder.decode({n: coded[n] for n in chosen}, size) == stripe, chosen


@pytest.mark.parametrize(("need", "total"), [(1, 3), (2, 3), (3, 3), (3, 5), (5, 8)])
def test_r10_every_corrupt_shard_is_named_at_the_first_wrong_byte(need, total):
    plan = Plan(need, total, STRIPE + 1000)
    root, made = shards(plan, data(plan.size))
    for number, shard in enumerate(made):
        assert len(shard) == plan.shard_size
        assert set(fragments(plan, root, number, shard)) == {0, 1}
        places = (0, 33, plan.head_size - 1, plan.head_size, plan.offset(1), len(shard) - 1)
        for place in places:
            wrong = bytearray(shard)
            wrong[place] ^= 1
            with pytest.raises(RemoteProtocolError):
                fragments(plan, root, number, bytes(wrong))
        for other in range(total):
            if other != number and need > 1:
                with pytest.raises(RemoteProtocolError, match="not the shard"):
                    fragments(plan, root, number, made[other])
        with pytest.raises(RemoteProtocolError, match="follow the end"):
            fragments(plan, root, number, shard + b"x")


def test_a_shard_of_another_file_is_not_taken():
    plan = Plan(2, 3, 5000)
    _, first = shards(plan, data(5000))
    root, _ = shards(plan, bytes(5000))
    with pytest.raises(RemoteProtocolError, match="not the shard"):
        fragments(plan, root, 0, first[0])


@given(st.integers(1, 3 * STRIPE), st.sampled_from(CODES), st.integers(1, 1 << 18))
def test_every_fragment_stands_where_it_is_said_to(size, code, cut):
    plan = Plan(*code, size)
    assert sum(map(plan.stripe_size, range(plan.stripes))) == size
    at = plan.head_size
    for stripe in range(plan.stripes):
        assert plan.offset(stripe) == at
        at += plan.fragment_size(stripe)
    assert plan.shard_size == at


def test_a_reader_fed_in_pieces_and_from_the_middle_reads_the_same():
    plan = Plan(2, 3, 2 * STRIPE + 5)
    root, made = shards(plan, data(plan.size))
    whole = fragments(plan, root, 1, made[1])
    reader = ShardReader(plan, 1, root)
    pieces = [made[1][at : at + 1009] for at in range(0, len(made[1]), 1009)]
    assert dict(pair for piece in pieces for pair in reader.feed(piece)) == whole
    reader = ShardReader(plan, 1, root)
    assert list(reader.feed(made[1][: plan.head_size])) == []
    reader.seek(1)
    assert dict(reader.feed(made[1][plan.offset(1) :])) == {1: whole[1], 2: whole[2]}


@given(st.binary(max_size=300))
def test_any_bytes_are_a_shard_or_the_declared_error(noise):
    plan = Plan(2, 3, 100)
    try:
        list(ShardReader(plan, 0, bytes(32)).feed(noise))
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize(("need", "total"), [(0, 3), (4, 3), (1, MAX_TOTAL + 1), (-1, 2)])
def test_codes_that_are_none(need, total):
    with pytest.raises(UsageError, match="no code"):
        Coder(need, total)


def test_the_largest_code_works():
    coder = Coder(10, MAX_TOTAL)
    coded = coder.encode(data(100_000))
    assert coder.decode({n: coded[n] for n in range(22, 32)}, 100_000) == data(100_000)
