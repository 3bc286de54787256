"""RFC 9474: its own test vectors (appendix A, all four variants), and what nobody may be able to do."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateNumbers,
    RSAPublicNumbers,
    generate_private_key,
    rsa_crt_dmp1,
    rsa_crt_dmq1,
    rsa_crt_iqmp,
)

from bento.box.issuer import blind_sign
from bento.errors import RemoteProtocolError
from bento.protocol import blindrsa
from bento.protocol.blindrsa import VARIANTS

VECTORS = json.loads(Path(__file__).with_name("vectors_rfc9474.json").read_text())
VARIANT = {variant.name: variant for variant in VARIANTS}


class Vector:
    def __init__(self, raw):
        self.variant = VARIANT[raw["name"]]
        p, q, n, e, d = (int(raw[name], 16) for name in "pqned")
        assert e == blindrsa.EXPONENT
        numbers = RSAPrivateNumbers(
            p, q, d, rsa_crt_dmp1(d, p), rsa_crt_dmq1(d, q), rsa_crt_iqmp(p, q),
            RSAPublicNumbers(e, n),
        )  # fmt: skip
        self.key = numbers.private_key()
        self.public = self.key.public_key()
        self.inverse = int(raw["inv"], 16)
        self.factor = pow(self.inverse, -1, n)
        for name in ("msg", "msg_prefix", "input_msg", "salt", "blinded_msg", "blind_sig", "sig"):
            setattr(self, name, bytes.fromhex(raw[name]))


@pytest.fixture(params=VECTORS, ids=lambda raw: raw["name"], scope="module")
def vector(request):
    return Vector(request.param)


def test_all_four_variants_are_there():
    assert {raw["name"] for raw in VECTORS} == set(VARIANT)


def test_the_message_is_prepared_as_in_the_rfc(vector):
    assert vector.msg_prefix + vector.msg == vector.input_msg
    prepared = blindrsa.prepare(vector.msg, vector.variant)
    assert prepared.endswith(vector.msg)
    assert len(prepared) == len(vector.input_msg)


def test_blinding_is_that_of_the_rfc(vector):
    blinded, inverse = blindrsa.blind(
        vector.public, vector.input_msg, vector.variant, salt=vector.salt, factor=vector.factor
    )
    assert (blinded, inverse) == (vector.blinded_msg, vector.inverse)


def test_the_signer_signs_as_in_the_rfc(vector):
    assert blind_sign(vector.key, vector.blinded_msg) == vector.blind_sig


def test_finalizing_is_that_of_the_rfc(vector):
    made = blindrsa.finalize(
        vector.public, vector.input_msg, vector.blind_sig, vector.inverse, vector.variant
    )
    assert made == vector.sig
    assert blindrsa.verify(vector.public, vector.input_msg, vector.sig, vector.variant)


@pytest.fixture(scope="module")
def key():
    return generate_private_key(blindrsa.EXPONENT, 2048)


def test_a_signature_is_of_one_message_and_one_key(key, vector):
    prepared = blindrsa.prepare(b"message")
    blinded, inverse = blindrsa.blind(key.public_key(), prepared)
    signature = blindrsa.finalize(key.public_key(), prepared, blind_sign(key, blinded), inverse)
    assert blindrsa.verify(key.public_key(), prepared, signature)
    assert not blindrsa.verify(key.public_key(), prepared + b"x", signature)
    assert not blindrsa.verify(vector.public, prepared, signature)
    for raw in (b"", signature[:-1], bytes(256), b"\xff" * 256):
        assert not blindrsa.verify(key.public_key(), prepared, raw)


def test_the_same_message_is_never_blinded_to_the_same(key):
    prepared = blindrsa.prepare(b"message")
    assert blindrsa.blind(key.public_key(), prepared) != blindrsa.blind(key.public_key(), prepared)


def test_a_wrong_answer_of_the_signer_is_noticed(key, vector):
    prepared = blindrsa.prepare(b"message")
    blinded, inverse = blindrsa.blind(key.public_key(), prepared)
    for wrong in (blind_sign(vector.key, vector.blinded_msg), blinded, bytes(256), b""):
        with pytest.raises(RemoteProtocolError):
            blindrsa.finalize(key.public_key(), prepared, wrong, inverse)


@pytest.mark.parametrize("blinded", [b"", bytes(255), bytes(257), b"\xff" * 256])
def test_the_signer_signs_nothing_of_another_size(key, blinded):
    with pytest.raises(RemoteProtocolError):
        blind_sign(key, blinded)
