"""INTRODUCE2: each row of the table of checks, broken one at a time, is refused; limits hold."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import VerifyKey

from bento.errors import RemoteProtocolError
from bento.onion import handover, hs_ntor, intro, linkspec
from bento.onion.certs import RelayIdentity
from bento.onion.crypto import aes_ctr, mac_sha3, x25519, x25519_public
from bento.onion.hs_ntor import ClientShare
from bento.onion.intro import (
    CookieMemory,
    IntroductionKeysOfPoint,
    IntroductionPoint,
    Replayed,
)
from bento.onion.linkspec import IPV6, RSA, Target
from bento.onion.wire import Reader

NOW = 1_800_000_000.0
SUBCREDENTIALS = [b"\1" * 32, b"\2" * 32]
RELAY = RelayIdentity(b"\3" * 20, b"\3" * 32)
SPECIFIERS = linkspec.for_relay(RELAY, [(ipaddress.ip_address("192.0.2.3"), 9001)])
TARGET = Target(RELAY, b"\4" * 32, SPECIFIERS)
KEYS = IntroductionKeysOfPoint(b"\5" * 32, b"\6" * 32)


@dataclass
class Client:
    """An onion client, every field of whose INTRODUCE1 a test can spoil."""

    x: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    legacy: bytes = bytes(20)
    auth_type: int = 2
    auth_key: bytes = KEYS.auth_key
    subcredential: bytes = SUBCREDENTIALS[1]
    cookie: bytes = b"\7" * 20
    extensions: bytes = b"\0"
    onion_type: int = 1
    onion_key: bytes = b"\4" * 32
    specifiers: bytes = linkspec.pack(SPECIFIERS)
    spoil_mac: bytes = b""

    @property
    def share(self) -> ClientShare:
        shared = x25519(self.x, KEYS.encryption_key)
        return ClientShare(x25519_public(self.x), shared, KEYS.encryption_key, KEYS.auth_key)

    def message(self) -> bytes:
        plain = self.cookie + self.extensions + bytes([self.onion_type])
        plain += len(self.onion_key).to_bytes(2, "big") + self.onion_key + self.specifiers
        plain += bytes(100)
        made = hs_ntor.introduction_keys(self.share, self.subcredential)
        body = self.legacy + bytes([self.auth_type])
        body += len(self.auth_key).to_bytes(2, "big") + self.auth_key + b"\0"
        body += x25519_public(self.x) + aes_ctr(made.encrypt).update(plain)
        return body + (self.spoil_mac or mac_sha3(made.authenticate, body))


def point() -> IntroductionPoint:
    return IntroductionPoint(TARGET, NOW, KEYS)


def opened(message: bytes, at: IntroductionPoint | None = None):
    return (at or point()).open(message, SUBCREDENTIALS, CookieMemory(), NOW)


@pytest.mark.parametrize("subcredential", SUBCREDENTIALS)
def test_who_waits_where_is_told_under_either_period(subcredential: bytes) -> None:
    client = Client(subcredential=subcredential)
    found = opened(client.message())
    assert bytes(found.cookie) == client.cookie
    assert found.relay == TARGET
    assert found.share == client.share
    assert not found.congestion_control


def test_a_wish_for_congestion_control_is_heard() -> None:
    assert opened(Client(extensions=b"\2\7\1x\1\0").message()).congestion_control


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "1 cut short": (lambda: Client().message()[:80], "cut short"),
    "1 legacy": (lambda: Client(legacy=b"\1" * 20).message(), "third version"),
    "2 key type": (lambda: Client(auth_type=1).message(), "third version"),
    "2 other point": (lambda: Client(auth_key=b"\1" * 32).message(), "another introduction"),
    "4 bad MAC": (lambda: Client(spoil_mac=bytes(32)).message(), "does not open"),
    "4 other service": (lambda: Client(subcredential=bytes([9]) * 32).message(), "does not open"),
    "5 key type": (lambda: Client(onion_type=2).message(), "unknown type"),
    "5 key size": (lambda: Client(onion_key=bytes(31)).message(), "wrong size"),
    "5 extensions": (lambda: Client(extensions=b"\xff" * 300).message(), "cut short"),
    "6 none": (lambda: Client(specifiers=b"\0").message(), "which relay"),
    "6 no address": (
        lambda: Client(specifiers=linkspec.pack(SPECIFIERS[1:])).message(),
        "which relay",
    ),
    "6 no Ed25519": (
        lambda: Client(specifiers=linkspec.pack(SPECIFIERS[:2])).message(),
        "which relay",
    ),
    "6 two relays": (
        lambda: Client(specifiers=linkspec.pack([*SPECIFIERS, (RSA, bytes(20))])).message(),
        "two relays",
    ),
    "6 wrong size": (
        lambda: Client(specifiers=linkspec.pack([*SPECIFIERS, (IPV6, b"x")])).message(),
        "wrong size",
    ),
    "6 too many": (lambda: Client(specifiers=b"\x30" + b"\x63\0" * 48).message(), "48 link"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_every_broken_check_is_refused(case: str) -> None:
    make, says = BROKEN[case]
    with pytest.raises(RemoteProtocolError, match=says):
        opened(make())


def test_the_same_introduction_twice_is_dropped() -> None:
    at, message = point(), Client().message()
    opened(message, at)
    with pytest.raises(Replayed):
        opened(message, at)


def test_what_does_not_open_uses_nothing_up_and_stands_in_nobodys_way() -> None:
    at, client = point(), Client()
    left, message = at.left, client.message()
    for number in range(5):
        with pytest.raises(RemoteProtocolError):
            opened(message[:-32] + bytes([number]) * 32, at)
    assert at.left == left and not at.seen
    opened(message, at)
    assert at.left == left - 1


def test_the_same_cookie_over_another_point_is_dropped_for_five_minutes() -> None:
    cookies = CookieMemory()
    point().open(Client().message(), SUBCREDENTIALS, cookies, NOW)
    with pytest.raises(Replayed):
        point().open(Client().message(), SUBCREDENTIALS, cookies, NOW + 299)
    point().open(Client().message(), SUBCREDENTIALS, cookies, NOW + 301)


def test_the_memory_of_cookies_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intro, "MAX_COOKIES", 10)
    cookies = CookieMemory()
    for number in range(100):
        cookies.add(bytes([number]) * 20, NOW)
    assert len(cookies._seen) <= 10


def test_a_point_is_spent_by_use_and_by_time() -> None:
    at = point()
    assert not at.is_spent(NOW + 17.9 * 3600)
    assert at.is_spent(NOW + 24.1 * 3600)
    assert 16_384 <= at.left <= 32_768
    at.left = 1
    opened(Client().message(), at)
    assert at.is_spent(NOW)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_is_accepted(at: int, mask: int) -> None:
    message = bytearray(Client().message())
    message[at % len(message)] ^= mask
    with pytest.raises(RemoteProtocolError):
        opened(bytes(message))


@given(st.binary(max_size=600))
def test_any_bytes_are_refused_by_the_declared_error(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        opened(data)


def test_establishing_is_signed_and_bound_to_the_circuit() -> None:
    """rend-spec-v3 3.1.1, read back as the relay would."""
    nonce = b"\x0b" * 20
    message = point().establish_message(nonce)
    reader = Reader(message, "establish")
    assert reader.uint(1) == 2
    assert reader.vector(2) == KEYS.auth_key
    assert reader.uint(1) == 0
    assert reader.take(32) == mac_sha3(nonce, message[: 1 + 2 + 32 + 1])
    signed = message[: reader.position]
    VerifyKey(KEYS.auth_key).verify(b"Tor establish-intro cell v1" + signed, reader.vector(2))
    reader.end()


def test_keys_survive_a_restart_and_do_not_show_themselves() -> None:
    auth, encryption = KEYS.secrets()
    again = IntroductionKeysOfPoint(bytes(auth), bytes(encryption))
    assert (again.auth_key, again.encryption_key) == (KEYS.auth_key, KEYS.encryption_key)
    assert "\\x" not in repr(KEYS) + repr(auth) + repr(point().keys)


# -- the record for a replica


def test_a_record_survives_its_own_reader_and_hides_its_secrets() -> None:
    found = opened(Client(extensions=b"\1\1\0").message())
    packed = found.pack()
    again = handover.parse(bytes(packed))
    assert again == found
    assert len(packed) < 400
    for text in (repr(packed), repr(found)):
        assert found.share.shared.hex() not in text
        assert repr(bytes(found.cookie))[2:-1] not in text


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_a_record_or_the_declared_error(data: bytes, versioned: bool) -> None:
    try:
        handover.parse(b"\1\0" + data if versioned else data)
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize("spoil", ["version", "flags", "short", "long", "huge"])
def test_a_spoiled_record_is_refused(spoil: str) -> None:
    packed = bytes(opened(Client().message()).pack())
    changed = {
        "version": b"\2" + packed[1:],
        "flags": packed[:1] + b"\x80" + packed[2:],
        "short": packed[:-1],
        "long": packed + b"\0",
        "huge": packed + bytes(3000),
    }[spoil]
    with pytest.raises(RemoteProtocolError):
        handover.parse(changed)


def test_a_record_opens_no_other_clients_introduction() -> None:
    """A replica that has one record cannot open what another client sealed to the service."""
    record = opened(Client().message())
    other = Client(cookie=b"\x0c" * 20)
    stolen = hs_ntor.introduction_keys(record.share, SUBCREDENTIALS[1])
    body = other.message()
    assert mac_sha3(stolen.authenticate, body[:-32]) != body[-32:]
