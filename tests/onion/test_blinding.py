"""Key blinding against the published vectors; signatures that any Ed25519 verifies."""

import ast
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey, VerifyKey
from tests.onion.vectors_blinding import ROWS

from bento.errors import UsageError
from bento.onion import blinding
from bento.onion.blinding import OnionIdentity, TimePeriod


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_published_vectors(row: tuple[str, ...]) -> None:
    expanded, public, factor, blinded_secret, blinded_public = map(bytes.fromhex, row)
    identity = OnionIdentity(expanded)
    assert identity.public == public
    blinded = identity.blind(factor)
    assert blinded._scalar + blinded._prefix == blinded_secret
    assert blinded.public == blinded_public
    assert blinding.blind_public(public, factor) == blinded_public


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 10**6))
def test_what_a_blinded_key_signs_verifies_under_its_public_key(seed, message, number) -> None:
    blinded = OnionIdentity.from_seed(seed).blinded(TimePeriod(number, 1440))
    VerifyKey(blinded.public).verify(message, blinded.sign(message))
    assert blinded.sign(message) == blinded.sign(message)


def test_client_and_service_agree_on_the_key_of_a_period() -> None:
    identity = OnionIdentity.generate()
    period = TimePeriod(16903, 1440)
    factor = blinding.blinding_factor(identity.public, period)
    assert blinding.blind_public(identity.public, factor) == identity.blinded(period).public
    assert identity.blinded(TimePeriod(16904, 1440)).public != identity.blinded(period).public


def test_a_seed_gives_the_key_of_rfc_8032() -> None:
    assert OnionIdentity.from_seed(b"\7" * 32).public == bytes(SigningKey(b"\7" * 32).verify_key)


def test_addresses_are_read_and_written() -> None:
    # An address of the specification (rend-spec-v3 6).
    address = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd"
    public = blinding.public_from_address(address + ".onion")
    assert blinding.address_of(public) == address
    for wrong in ("", "a" * 56, address[:-1] + "a", address[:-1], address + "x", "b" + address[1:]):
        with pytest.raises(UsageError):
            blinding.public_from_address(wrong)


def test_key_files_of_c_tor_are_read_and_written() -> None:
    identity = OnionIdentity.generate()
    data = identity.to_c_tor_file()
    assert bytes(data)[:32] == b"== ed25519v1-secret: type0 ==\0\0\0"
    assert OnionIdentity.from_c_tor_file(bytes(data)).public == identity.public
    with pytest.raises(UsageError):
        OnionIdentity.from_c_tor_file(b"x" * 96)
    with pytest.raises(UsageError):
        OnionIdentity(bytes(63))


def test_keys_do_not_show_themselves() -> None:
    identity = OnionIdentity.from_seed(b"\7" * 32)
    blinded = identity.blinded(TimePeriod(1, 1440))
    for text in (repr(identity), repr(blinded), repr(identity._scalar), f"{blinded}"):
        assert "\\x" not in text
        assert bytes(identity._scalar).hex() not in text


def test_no_secret_becomes_a_python_integer() -> None:
    """The module has no `int.from_bytes` and no arithmetic but on lengths and clamped edges."""
    tree = ast.parse(inspect.getsource(blinding))
    names = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    assert "from_bytes" not in names
    operators = {type(n.op) for n in ast.walk(tree) if isinstance(n, ast.BinOp)}
    assert operators <= {ast.Add, ast.BitAnd, ast.BitOr}
