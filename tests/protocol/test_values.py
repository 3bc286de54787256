"""Arguments come back as they were; any bytes are arguments or the declared error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.protocol import limits
from bento.protocol.values import decode_values, encode_values

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(trees)
def test_values_come_back_as_they_were(value):
    assert decode_values(encode_values(value)) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_values_or_the_declared_error(data):
    try:
        decode_values(data)
    except RemoteProtocolError:
        pass


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_bounded_on_both_sides():
    assert decode_values(encode_values(nested(limits.VALUE_DEPTH))) == nested(limits.VALUE_DEPTH)
    with pytest.raises(LocalProtocolError):
        encode_values(nested(limits.VALUE_DEPTH + 1))
    with pytest.raises(RemoteProtocolError):
        decode_values(b"L\0\0\0\1" * (limits.VALUE_DEPTH + 1) + b"N")


def test_the_number_of_items_is_bounded():
    with pytest.raises(RemoteProtocolError):
        decode_values(encode_values([None] * limits.VALUE_ITEMS))


def test_a_length_that_lies_costs_nothing():
    with pytest.raises(RemoteProtocolError):
        decode_values(b"L\xff\xff\xff\xff" + b"N" * 10)
    with pytest.raises(RemoteProtocolError):
        decode_values(b"B\xff\xff\xff\xffx")


def test_a_repeated_key_is_refused():
    key = b"S\0\0\0\1a"
    with pytest.raises(RemoteProtocolError):
        decode_values(b"M\0\0\0\2" + (key + b"N") * 2)


@pytest.mark.parametrize("value", [object(), {1: 2}, {1}, 1 << 3000, b"x" * (1 << 20)])
def test_what_cannot_travel_is_refused_where_it_starts(value):
    with pytest.raises(LocalProtocolError):
        encode_values(value)
