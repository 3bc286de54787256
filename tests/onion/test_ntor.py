"""ntor and ntor-v3 against the published vectors, and against every changed bit."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.onion.far import ntor3_answer, ntor_answer

from bento.errors import RemoteProtocolError
from bento.onion import keys, ntor3
from bento.onion.crypto import Secret, x25519, x25519_public
from bento.onion.ntor import NtorClient
from bento.onion.ntor3 import Ntor3Client


def key(text: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(text))


# The vector that tor, Arti and others share.
ID = b"iToldYouAboutStairs."
B = key("4820544f4c4420594f5520444f474954204b454550532048415050454e494e47")
X = key("706f6461792069207075742e2e2e2e2e2e2e2e4a454c4c59206f6e2074686973")
REPLY = bytes.fromhex(
    "390480a14362761d6aec1fea840f6e9e928fb2adb7b25c670be1045e35133a37"
    "1cbdf68b89923e1f85e8e18ee6e805ea333fe4849c790ffd2670bd80fec95cc8"
)
KEYS = (
    "0c62dee7f48893370d0ef896758d35729867beef1a5121df80e00f79ed349af39b51cae125719182"
    "f19d932a667dae1afbf2e336e6910e7822223e763afad0a13342157969dc6b79"
)


def flat(hop: keys.HopKeys) -> bytes:
    return b"".join(
        (
            hop.forward_digest,
            hop.backward_digest,
            hop.forward_key,
            hop.backward_key,
            hop.nonce,
        )
    )


def test_ntor_gives_the_published_keys() -> None:
    client = NtorClient(ID, x25519_public(B), X)
    assert client.request.hex() == (
        "69546f6c64596f7541626f75745374616972732e"
        "ccbc8541904d18af08753eae967874749e6149f873de937f57f8fd903a21c471"
        "e65dfdbef8b2635837fe2cebc086a8096eae3213e6830dc407516083d412b078"
    )
    assert flat(client.finish(REPLY)).hex().startswith(KEYS)


@given(st.integers(0, len(REPLY) * 8 - 1))
def test_ntor_refuses_every_changed_bit(bit: int) -> None:
    reply = bytearray(REPLY)
    reply[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        NtorClient(ID, x25519_public(B), X).finish(bytes(reply))


@given(st.binary(max_size=100))
def test_ntor_refuses_any_other_bytes(reply: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        NtorClient(ID, x25519_public(B), X).finish(reply)
    with pytest.raises(RemoteProtocolError):
        Ntor3Client(bytes(32), x25519_public(B), b"", ephemeral=X).finish(reply)


def test_a_key_of_small_order_is_refused() -> None:
    for point in (bytes(32), b"\1" + bytes(31)):
        with pytest.raises(RemoteProtocolError, match="not usable"):
            x25519(X, point)
        with pytest.raises(RemoteProtocolError):
            NtorClient(ID, x25519_public(B), X).finish(point + bytes(32))


# The vector of proposal 332's reference code, confirmed by tor and Arti.
V3_ID = bytes.fromhex("9fad2af287ef942632833d21f946c6260c33fae6172b60006e86e4a6911753a2")
V3_B = key("4051daa5921cfa2a1c27b08451324919538e79e788a81b38cbed097a5dff454a")
V3_X = key("b825a3719147bcbe5fb1d0b0fcb9c09e51948048e2e3283d2ab7b45b5ef38b49")
V3_Y = key("4865a5b7689dafd978f529291c7171bc159be076b92186405d13220b80e2a053")
V3_REQUEST = (
    "9fad2af287ef942632833d21f946c6260c33fae6172b60006e86e4a6911753a2"
    "f8307a2bc1870b00b828bb74dbb8fd88e632a6375ab3bcd1ae706aaa8b6cdd1d"
    "252fe9ae91264c91d4ecb8501f79d0387e34ad8ca0f7c995184f7d11d5da4f46"
    "3bebd9151fd3b47c180abc9e044d53565f04d82bbb3bebed3d06cea65db8be9c72b68cd461942088502f67"
)
V3_REPLY = (
    "4bf4814326fdab45ad5184f5518bd7fae25dc59374062698201a50a22954246d"
    "2fc5f8773ca824542bc6cf6f57c7c29bbf4e5476461ab130c5b18ab0a9127665"
    "1202c3e1e87c0d32054c"
)
V3_KEYS = (
    "9c19b631fd94ed86a817e01f6c80b0743a43f5faebd39cfaa8b00fa8bcc65c3bfeaa403d91acbd68a821bf6ee850"
    "4602b094a254392a07737d5662768c7a9fb1b2814bb34780eaee6e867c773e28c212ead563e98a1cd5d5b4576f5ee"
    "61c59bde025ff2851bb19b721421694f263818e3531e43a9e4e3e2c661e2ad547d8984caa28ebecd3e4525452299b"
    "e26b9185a20a90ce1eac20a91f2832d731b54502b09749b5a2a2949292f8cfcbeffb790c7790ed935a9d251e7e336"
    "148ea83b063a5618fcff674a44581585fd22077ca0e52c59a24347a38d1a1ceebddbf238541f226b8f88d0fb9c07a"
    "1bcd2ea764bbbb5dacdaf5312a14c0b9e4f06309b0333b4a"
)


def v3_client() -> Ntor3Client:
    return Ntor3Client(V3_ID, x25519_public(V3_B), b"hello world", b"xyzzy", V3_X)


def test_ntor3_gives_the_published_bytes_and_keys() -> None:
    client = v3_client()
    assert client.request.hex() == V3_REQUEST
    assert client.finish_stream(bytes.fromhex(V3_REPLY), 256).hex() == V3_KEYS
    assert client.answer == b"Hola Mundo"


def test_the_relay_of_our_tests_makes_the_published_reply() -> None:
    reply, said, stream = ntor3_answer(
        V3_ID, V3_B, bytes.fromhex(V3_REQUEST), b"Hola Mundo", b"xyzzy", V3_Y, 256
    )
    assert (reply.hex(), said, stream.hex()) == (V3_REPLY, b"hello world", V3_KEYS)
    reply, hop = ntor_answer(
        ID,
        B,
        NtorClient(ID, x25519_public(B), X).request,
        key("70686520737175697272656c2e2e2e2e2e2e2e2e686173206869732067616d65"),
    )
    assert reply == REPLY
    assert flat(hop).hex().startswith(KEYS)


@given(st.integers(0, 64 * 8 + 79))
def test_ntor3_refuses_every_changed_bit(bit: int) -> None:
    reply = bytearray(bytes.fromhex(V3_REPLY))
    reply[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        v3_client().finish(bytes(reply))


@given(st.dictionaries(st.integers(0, 255), st.binary(max_size=255), max_size=5))
def test_extensions_survive_their_own_reader(extensions: dict[int, bytes]) -> None:
    assert ntor3.parse_extensions(ntor3.pack_extensions(extensions)) == extensions


@given(st.binary(max_size=60))
def test_any_bytes_are_extensions_or_the_declared_error(data: bytes) -> None:
    try:
        ntor3.parse_extensions(data)
    except RemoteProtocolError:
        pass


def test_the_first_extension_of_a_type_counts() -> None:
    assert ntor3.parse_extensions(b"\2\2\1\x1f\2\1\x20") == {2: b"\x1f"}


def test_secrets_do_not_show_themselves() -> None:
    hop = NtorClient(ID, x25519_public(B), X).finish(REPLY)
    for text in (repr(hop), str(hop), repr(Secret(b"abc")), str(Secret(b"abc")), f"{hop!r}"):
        assert "abc" not in text
        assert "0c62" not in text.lower()
        assert "\\x" not in text
