"""The policy document: signed by the key that the relay announces, or refused."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import BoxError, RemoteProtocolError
from bento.protocol.manifest import Manifest
from bento.protocol.policy import Policy, key_hash, sign, verify, violations

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
POLICY = Policy(
    images=("python",),
    memory=1 << 30,
    cpu=1.0,
    disk=1 << 20,
    pids=64,
    lifetime=3600,
    upload=1 << 20,
    spool=1 << 22,
    instances=5,
    egress=("*:443",),
    egress_via="direct",
    enforcement="cgroup",
    syscalls=("python",),
)
DOCUMENT = POLICY.document()
SIGNATURE = sign(DOCUMENT, KEY)


def test_a_signed_policy_comes_back_as_it_was():
    assert verify(DOCUMENT, SIGNATURE, PUBLIC, key_hash(PUBLIC)) == POLICY


def test_another_key_than_the_announced_one_is_refused():
    other = Ed25519PrivateKey.generate()
    public = other.public_key().public_bytes_raw()
    with pytest.raises(BoxError, match="another key"):
        verify(DOCUMENT, sign(DOCUMENT, other), public, key_hash(PUBLIC))


@given(st.integers(0, len(DOCUMENT) * 8 - 1))
def test_any_altered_bit_is_refused(bit):
    altered = bytearray(DOCUMENT)
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BoxError, match="not signed"):
        verify(bytes(altered), SIGNATURE, PUBLIC, key_hash(PUBLIC))


@given(st.integers(0, 511))
def test_any_altered_bit_of_the_signature_is_refused(bit):
    altered = bytearray(SIGNATURE)
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BoxError, match="not signed"):
        verify(DOCUMENT, bytes(altered), PUBLIC, key_hash(PUBLIC))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_the_declared_error(data):
    with pytest.raises(RemoteProtocolError):
        Policy.parse(data)


@pytest.mark.parametrize(
    "change",
    [
        ('"memory":1073741824', '"memory":-1'),
        ('"memory":1073741824', '"memory":true'),
        ('"memory":1073741824', '"memory":1e400'),
        ('"cpu":1.0', '"cpu":NaN'),
        ('"images":["python"]', '"images":"python"'),
        ('"images":["python"]', '"images":[1]'),
        ('"instances":5,', ""),
        ('"instances":5', '"instances":5,"more":1'),
        ('"egress_via":"direct"', '"egress_via":"' + "x" * 200 + '"'),
    ],
)
def test_a_document_with_a_wrong_entry_is_malformed(change):
    text = DOCUMENT.decode()
    assert change[0] in text
    with pytest.raises(RemoteProtocolError):
        Policy.parse(text.replace(*change).encode())


def test_what_is_within_has_no_violations():
    manifest = Manifest(disk=1 << 20)
    assert violations(manifest, POLICY) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"image": "browser"}, "image"),
        ({"memory": (1 << 30) + 1}, "memory"),
        ({"cpu": 1.01}, "cpu"),
        ({"disk": (1 << 20) + 1}, "disk"),
        ({"pids": 65}, "pids"),
        ({"lifetime": 3601}, "lifetime"),
        ({"spool": (1 << 22) + 1}, "spool"),
    ],
)
def test_each_item_beyond_the_policy_is_named_alone(change, word):
    (violation,) = violations(replace(Manifest(disk=1 << 20), **change), POLICY)
    assert violation.startswith(word)


def test_network_on_a_box_without_is_named():
    policy = replace(POLICY, egress=(), egress_via="none")
    (violation,) = violations(Manifest(disk=1, egress=("*:443",)), policy)
    assert violation.startswith("egress")


def test_a_conclave_asks_for_other_boxes_as_any_function_does():
    policy = replace(POLICY, images=("python-conclave",), syscalls=("",), boxes=4)
    asked = Manifest(image="python-conclave", disk=1 << 20, boxes=4)
    assert violations(asked, policy) == []
    [found] = violations(replace(asked, boxes=5), policy)
    assert found.startswith("boxes 5")
