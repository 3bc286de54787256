"""Descriptors: what the service makes the client reads, and nothing else."""

from __future__ import annotations

import base64
import ipaddress
import os

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.onion import descriptor, descriptor_reader, linkspec
from bento.onion.blinding import OnionIdentity, TimePeriod
from bento.onion.certs import RelayIdentity
from bento.onion.crypto import x25519, x25519_public
from bento.onion.descriptor import DescriptorPlan, PublishedPoint

NOW = 1_800_000_000.0
KEY = OnionIdentity.from_seed(b"\5" * 32).blinded(TimePeriod(20_000, 1440))
OTHER = OnionIdentity.from_seed(b"\6" * 32).blinded(TimePeriod(20_000, 1440))
ALICE, BOB, EVE = (X25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))


def point(number: int) -> PublishedPoint:
    identity = RelayIdentity(bytes([number]) * 20, bytes([number]) * 32)
    where = [(ipaddress.ip_address(f"192.0.2.{number}"), 9001)]
    specifiers = linkspec.for_relay(identity, where)
    auth = bytes(SigningKey(bytes([number]) * 32).verify_key)
    encryption = x25519_public(X25519PrivateKey.from_private_bytes(bytes([number]) * 32))
    return PublishedPoint(linkspec.target(specifiers, b"\7" * 32), auth, encryption)


PLAN = DescriptorPlan([point(1), point(2), point(3)])


def make(plan: DescriptorPlan = PLAN, revision: int = 7) -> bytes:
    return descriptor.make(KEY, plan, revision, NOW)


def read(text: bytes, client: X25519PrivateKey | None = None, now: float = NOW, key=KEY):
    return descriptor_reader.read(text, key.public, key.subcredential, now, client)


def test_who_knows_the_address_reads_the_introduction_points() -> None:
    seen = read(make())
    assert seen.points == tuple(PLAN.points)
    assert (seen.revision, seen.sendme_increment, seen.single_onion) == (7, None, False)


def test_flow_control_and_single_onion_are_told() -> None:
    seen = read(make(DescriptorPlan([point(1)], sendme_increment=31, single_onion=True)))
    assert (seen.sendme_increment, seen.single_onion) == (31, True)


def test_who_does_not_know_the_address_reads_nothing() -> None:
    with pytest.raises(RemoteProtocolError):
        read(make(), key=OTHER)
    with pytest.raises(RemoteProtocolError, match="does not open"):
        descriptor_reader.read(make(), KEY.public, OTHER.subcredential, NOW)


def test_only_authorized_clients_read_the_points() -> None:
    plan = DescriptorPlan(PLAN.points, [x25519_public(ALICE), x25519_public(BOB)])
    text = make(plan)
    for client in (ALICE, BOB):
        assert read(text, client).points == tuple(PLAN.points)
    with pytest.raises(RemoteProtocolError, match="authoriz"):
        read(text)
    with pytest.raises(RemoteProtocolError, match="not among"):
        read(text, EVE)


def test_the_number_of_clients_does_not_show() -> None:
    def size(count: int) -> int:
        keys = [x25519_public(X25519PrivateKey.generate()) for _ in range(count)]
        return len(make(DescriptorPlan(PLAN.points, keys)))

    assert size(0) == size(1) == size(16)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17])
def test_fake_clients_stand_among_the_real_ones(count: int) -> None:
    clients = [x25519_public(ALICE)] * count
    places = set()
    for _ in range(30):
        text = descriptor._middle(clients, KEY.subcredential, b"c" * 16, b"", os.urandom)
        lines = [li for li in text.splitlines() if li.startswith(b"auth-client ")]
        assert len(lines) == max(-(-count // 16), 1) * 16
        ephemeral = text.splitlines()[1].split()[1]
        shared = x25519(ALICE, base64.b64decode(ephemeral))
        name, _ = descriptor.client_keys(shared, KEY.subcredential)
        word = base64.b64encode(name).rstrip(b"=")
        places |= {n for n, li in enumerate(lines) if li.split()[1] == word}
    assert count != 1 or len(places) > 4


def test_every_descriptor_is_sealed_anew() -> None:
    assert make() != make()


@pytest.mark.parametrize("spoil", ["date", "signature", "revision", "certificate", "surplus"])
def test_a_spoiled_descriptor_is_refused(spoil: str) -> None:
    text = make()
    if spoil == "date":
        with pytest.raises(RemoteProtocolError, match="expired"):
            read(text, now=NOW + 60 * 3600)
        return
    changed = {
        "signature": text.replace(b"signature ", b"signature A", 1)[:-2] + b"\n",
        "revision": text.replace(b"revision-counter 7", b"revision-counter 8"),
        "certificate": text.replace(b"CERT-----\nAQg", b"CERT-----\nAQk", 1),
        "surplus": text + b"x\n",
    }[spoil]
    assert changed != text
    with pytest.raises(RemoteProtocolError):
        read(changed)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_changed_byte_is_accepted(at: int, mask: int) -> None:
    text = bytearray(make(DescriptorPlan([point(1)])))
    at %= len(text) - 2  # the last letter has bits that base64 does not use
    text[at] ^= mask
    with pytest.raises(RemoteProtocolError):
        read(bytes(text))


@given(st.binary(max_size=500))
def test_any_bytes_are_refused_by_the_declared_error(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read(data)
    with pytest.raises(RemoteProtocolError):
        read(b"hs-descriptor 3\n" + data)


def test_twenty_points_fit_and_one_more_does_not() -> None:
    assert len(read(make(DescriptorPlan([point(n) for n in range(1, 21)]))).points) == 20
    with pytest.raises(LocalProtocolError):
        make(DescriptorPlan([point(n) for n in range(1, 22)]))


def test_more_clients_than_hsdirs_take_are_refused() -> None:
    keys = [x25519_public(ALICE)] * 400
    with pytest.raises(LocalProtocolError, match="larger"):
        make(DescriptorPlan(PLAN.points, keys))


def test_the_ed25519_form_of_an_x25519_key() -> None:
    """Same scalar, both curves: the y coordinate follows from u."""
    from nacl.bindings import crypto_sign_ed25519_pk_to_curve25519

    for number in range(1, 20):
        ed = bytes(SigningKey(bytes([number]) * 32).verify_key)
        back = descriptor.ed25519_of_x25519(crypto_sign_ed25519_pk_to_curve25519(ed))
        assert back == ed[:31] + bytes([ed[31] & 127])


@pytest.mark.parametrize("pace", ["9" * 5000, "1000", "x", ""])
def test_a_pace_that_no_service_has_is_none(pace: str) -> None:
    plain = f"create2-formats 2\nflow-control 1-2 {pace}\n"
    assert descriptor_reader._read_inner(plain, 1, bytes(32), NOW).sendme_increment is None
