"""hs-ntor against the reference code's numbers, and what front and replica can know."""

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bento.onion import hs_ntor
from bento.onion.crypto import x25519, x25519_public
from bento.onion.hs_ntor import ClientShare


def key(text: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(text))


# Numbers made with tor's reference code (src/test/hs_ntor_ref.py) for these keys.
X = key("28711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4841")
B = key("3823e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c005d")
Y = key("a0fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b07a")
AUTH_KEY, SUBCREDENTIAL = bytes(range(32)), bytes(range(64, 96))
SEED = bytes.fromhex("b468b669b8ac410ee4c567356031ae9d59d28e153a4e6b7a7134c65d2a13f0db")
MAC = bytes.fromhex("ccd6093bbee8dfbc1d20aaf3e27b21bacdb8a7c23db783a7e7aaf6aa98311645")

SERVICE = ClientShare(x25519_public(X), x25519(B, x25519_public(X)), x25519_public(B), AUTH_KEY)
CLIENT = ClientShare(x25519_public(X), x25519(X, x25519_public(B)), x25519_public(B), AUTH_KEY)


def test_both_sides_make_the_reference_introduction_keys() -> None:
    for share in (SERVICE, CLIENT):
        made = hs_ntor.introduction_keys(share, SUBCREDENTIAL)
        assert made.encrypt.hex() == (
            "d5bc9fdc4df5a71783f7c0fc45787132f959911be2aa1e1416873021e61bd916"
        )
        assert made.authenticate.hex() == (
            "09d7665109774946a0d085f30e58b2bd891e82bf0ee057d0313644b4d58e5434"
        )


def test_the_service_makes_the_reference_answer_and_the_client_accepts_it() -> None:
    info, service = hs_ntor.answer(SERVICE, Y)
    assert info == x25519_public(Y) + MAC
    both = x25519(X, x25519_public(Y)) + x25519(X, x25519_public(B))
    seed, auth = hs_ntor.expected_auth(CLIENT, both, x25519_public(Y))
    assert (seed, auth) == (SEED, MAC)
    client = hs_ntor.hop_keys(seed)
    assert client.forward_key == service.backward_key
    assert client.backward_key == service.forward_key
    assert client.forward_digest == service.backward_digest


def test_the_front_cannot_compute_the_keys_of_the_stream() -> None:
    """The front knows b and EXP(X,b); two replicas with the same share get different keys."""
    _, one = hs_ntor.answer(SERVICE)
    _, two = hs_ntor.answer(SERVICE)
    assert one.forward_key != two.forward_key


def test_a_share_does_not_show_itself() -> None:
    assert SERVICE.shared.hex() not in repr(SERVICE)
    assert "secret" in repr(SERVICE)
