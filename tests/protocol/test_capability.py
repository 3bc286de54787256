"""A capability can be weakened by anybody and strengthened by nobody."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import BoxError, RemoteProtocolError, UsageError
from bento.protocol import caveats, control, limits
from bento.protocol.capability import SEAL, Capability
from bento.protocol.caveats import (
    ATTACH,
    INVOKE,
    SHUTDOWN,
    Asked,
    AtBox,
    Bytes,
    Holder,
    NotAfter,
    Only,
    Runs,
    Unknown,
    Uses,
    judge,
)

ROOT, NAME = b"r" * 32, b"n" * limits.CAPABILITY_NAME

u64 = st.integers(0, 2**64 - 1)
key = st.binary(min_size=32, max_size=32)
salt = st.binary(min_size=8, max_size=8)
CONDITIONS = st.one_of(
    st.builds(Only, st.integers(0, 255)),
    st.builds(AtBox, key),
    st.builds(Runs, key),
    st.builds(NotAfter, u64),
    st.builds(Uses, salt, st.integers(0, 2**32 - 1)),
    st.builds(Bytes, salt, u64),
    st.builds(Holder, key),
    st.builds(
        lambda kind, value: Unknown(bytes([1 + len(value), kind]) + value),
        st.integers(8, 255),
        st.binary(max_size=20),
    ),
)
CHAINS = st.lists(CONDITIONS, max_size=8)


def asked(
    operations=INVOKE, box=b"k" * 32, function=b"f" * 32, now=100.0, proves=lambda key: False
):
    return Asked(operations, box, function, now, proves)


@given(CHAINS)
def test_a_token_travels_and_is_known_to_its_maker_only(conditions):
    token = Capability.mint(ROOT, NAME, *conditions)
    again = Capability.parse(token.encode())
    assert again == token
    assert list(again.caveats) == conditions
    assert len(again.counters(ROOT)) == len(conditions)
    assert again.counters(b"x" * 32) is None


@given(CHAINS, CHAINS)
def test_narrowing_offline_is_what_minting_would_have_given(first, second):
    assert Capability.mint(ROOT, NAME, *first).narrow(*second) == Capability.mint(
        ROOT, NAME, *first, *second
    )


@given(st.lists(CONDITIONS, min_size=1, max_size=6), st.data())
def test_no_caveat_can_be_removed_moved_repeated_or_altered(conditions, data):
    token = Capability.mint(ROOT, NAME, *conditions)
    raw = data.draw(
        st.lists(st.sampled_from(token.raw), max_size=len(conditions) + 1)
        .map(tuple)
        .filter(lambda raw: raw != token.raw)
    )
    assert Capability(NAME, raw, token.seal).counters(ROOT) is None
    at = data.draw(st.integers(0, len(token.encode()) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    altered = bytearray(token.encode())
    altered[at] ^= bit
    try:
        assert Capability.parse(bytes(altered)).counters(ROOT) is None
    except RemoteProtocolError:
        pass


@given(st.binary(max_size=limits.CAPABILITY + 10))
def test_any_bytes_are_a_token_or_the_declared_error(data):
    try:
        assert Capability.parse(data).encode() == data
    except RemoteProtocolError:
        return
    assert Capability.parse(data).counters(ROOT) is None


@given(CHAINS, st.binary(max_size=60))
def test_any_caveats_are_read_or_the_declared_error(conditions, middle):
    head = Capability.mint(ROOT, NAME, *conditions).encode()
    data = head[:-SEAL] + middle + head[-SEAL:]
    try:
        assert Capability.parse(data).encode() == data
    except RemoteProtocolError:
        pass


def test_a_token_has_a_size_it_cannot_pass():
    token = Capability.mint(ROOT, NAME)
    with pytest.raises(UsageError, match="no room"):
        for _ in range(limits.CAPABILITY):
            token = token.narrow(Holder(bytes(32)))
    assert len(token.raw) >= 24
    with pytest.raises(RemoteProtocolError, match="larger"):
        Capability.parse(bytes(limits.CAPABILITY + 1))


def test_siblings_have_counters_of_their_own_and_share_their_parents():
    parent = Capability.mint(ROOT, NAME, Uses(bytes(8), 5))
    one, two = parent.narrow(Uses(b"1" * 8, 1)), parent.narrow(Uses(b"2" * 8, 1))
    assert one.counters(ROOT)[0] == two.counters(ROOT)[0] == parent.counters(ROOT)[0]
    assert one.counters(ROOT)[1] != two.counters(ROOT)[1]


def test_a_counter_gives_no_seal_away():
    token = Capability.mint(ROOT, NAME, Uses(bytes(8), 5))
    assert not any(token.seal.startswith(name) for name in token.counters(ROOT))


KEY = b"k" * 32
HELD = [
    (Only(INVOKE | ATTACH), {}),
    (AtBox(KEY), {}),
    (Runs(b"f" * 32), {}),
    (NotAfter(101), {}),
    (Holder(KEY), {"proves": lambda key: key == KEY}),
    (Uses(bytes(8), 0), {}),  # counted elsewhere
    (Bytes(bytes(8), 0), {}),
]
BROKEN = [
    (Only(SHUTDOWN | ATTACH), "does not allow this"),
    (Only(0), "does not allow this"),
    (AtBox(b"x" * 32), "another box"),
    (Runs(b"x" * 32), "another function"),
    (NotAfter(100), "time is over"),
    (Holder(b"x" * 32), "no proof"),
    (Unknown(b"\x01\xff"), "does not know"),
]


@pytest.mark.parametrize(("condition", "given_"), HELD, ids=lambda x: type(x).__name__)
def test_a_condition_that_holds_lets_through(condition, given_):
    assert judge([condition], asked(**given_)) == INVOKE


@pytest.mark.parametrize(("condition", "said"), BROKEN, ids=lambda x: type(x).__name__)
def test_a_condition_that_does_not_hold_refuses_and_says_so(condition, said):
    for conditions in ([condition], [HELD[0][0], condition], [condition, HELD[0][0]]):
        with pytest.raises(BoxError, match=said):
            judge(conditions, asked())


@given(CHAINS, CONDITIONS, st.booleans())
def test_one_more_condition_never_allows_more(conditions, one, proves):
    request = asked(INVOKE | ATTACH, proves=lambda key: proves)

    def allowed(chain):
        try:
            return judge(chain, request)
        except BoxError:
            return 0

    assert allowed([*conditions, one]) & ~allowed(conditions) == 0


def test_rights_of_a_connection_are_the_operations_of_its_token():
    assert (control.MAY_INVOKE, control.MAY_ATTACH) == (INVOKE, ATTACH)
    assert not control.COUNTED & (INVOKE | ATTACH)


def test_a_conclaves_guest_can_check_tokens_with_the_bare_standard_library():
    """Nothing of a site-packages folder, and none of the slow modules."""
    from pathlib import Path

    import bento

    source = Path(bento.__file__).parent.parent
    probe = (
        f"import sys; sys.path.insert(0, {str(source)!r}); before = set(sys.modules)\n"
        "import bento.protocol.capability\n"
        "slow = {'typing', 'dataclasses', 'enum', 'json', 'asyncio', 'msgspec', 're'}\n"
        "assert not slow & (set(sys.modules) - before), slow & set(sys.modules)"
    )
    subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", probe], check=True)


def test_caveats_of_known_kinds_have_one_encoding():
    assert caveats.decode(caveats.encode(Only(3))) == Only(3)
    with pytest.raises(RemoteProtocolError):
        caveats.decode(b"\x03\x01\x03\x03")
