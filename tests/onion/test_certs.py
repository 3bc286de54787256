"""The CERTS cell: each row of the table of checks, broken one at a time, is refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey
from tests.onion.fakes import HOUR, NOW, TLS_CERTIFICATE, FakeIdentity, certs_body, rsa_key

from bento.errors import RemoteProtocolError
from bento.onion import certs, edcert
from bento.onion.certs import RSA_IDENTITY_BITS, RelayIdentity
from bento.onion.edcert import CertType

DAY = 24 * HOUR
RELAY = FakeIdentity()
STRANGER = FakeIdentity(master=SigningKey(b"\x09" * 32), signing=SigningKey(b"\x08" * 32))


def check(body: bytes, expected: RelayIdentity | None = None) -> RelayIdentity:
    return certs.check(body, TLS_CERTIFICATE, NOW, expected)


def changed(**parts: bytes | None) -> bytes:
    """RELAY's certificates with some replaced (`c5=...`) or left out (`c5=None`)."""
    rows = RELAY.parts()
    for name, data in parts.items():
        kind = int(name[1:])
        if data is None:
            del rows[kind]
        else:
            rows[kind] = data
    return certs_body(rows)


def test_good_certificates_prove_both_identities() -> None:
    assert check(certs_body(RELAY.parts())) == RELAY.identity
    assert check(certs_body(RELAY.parts()), RELAY.identity) == RELAY.identity


def test_certificates_we_do_not_use_are_passed_over() -> None:
    rows = [*RELAY.parts().items(), (1, b"old"), (3, b"old"), (6, b""), (200, b"new")]
    assert check(certs_body(rows)) == RELAY.identity


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def signature_less_one_bit() -> bytes:
    """A signature whose last bit is 0, said to end before it: its value is the same."""
    signed = (RELAY.x509(-day * DAY) for day in range(100))
    even = next(data for data in signed if not data[-1] & 1)
    return flipped(even, len(even) - RSA_IDENTITY_BITS // 8 - 1)


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "1 cut short": (lambda: certs_body(RELAY.parts())[:-1], "cut short"),
    "1 surplus": (lambda: certs_body(RELAY.parts()) + b"x", "after its end"),
    "2 twice": (lambda: certs_body([*RELAY.parts().items(), (4, RELAY.signing_cert())]), "two"),
    "3 absent": (lambda: changed(c4=None), "no Ed25519 signing key"),
    "3 wrong type inside": (
        lambda: changed(c4=RELAY.signing_cert(kind=CertType.AUTH_BY_SIGNING)),
        "not of the type",
    ),
    "4 badly signed": (lambda: changed(c4=flipped(RELAY.signing_cert(), 120)), "badly signed"),
    "5 absent": (lambda: changed(c5=None), "no Ed25519 link"),
    "5 other connection": (
        lambda: changed(c5=RELAY.link_cert(certificate=b"another")),
        "not for this TLS connection",
    ),
    "5 wrong type inside": (
        lambda: changed(c5=RELAY.link_cert(kind=CertType.AUTH_BY_SIGNING)),
        "not of the type",
    ),
    "6 signed by another": (lambda: changed(c5=STRANGER.link_cert()), "badly signed"),
    "7 signing key expired": (lambda: changed(c4=RELAY.signing_cert(NOW - DAY)), "expired"),
    "7 link expired": (lambda: changed(c5=RELAY.link_cert(NOW - DAY)), "expired"),
    "8 absent": (lambda: changed(c2=None), "no RSA identity"),
    "8 not X.509": (lambda: changed(c2=b"\x30\x03abc"), "not good"),
    "8 signed by another": (lambda: changed(c2=RELAY.x509(signer=rsa_key(1024, 1))), "not good"),
    "8 not whole bytes": (lambda: changed(c2=signature_less_one_bit()), "whole bytes"),
    "9 too old": (lambda: changed(c2=RELAY.x509(-9 * DAY, -3 * DAY)), "out of date"),
    "9 too new": (lambda: changed(c2=RELAY.x509(40 * DAY, 50 * DAY)), "out of date"),
    "10 RSA-2048": (lambda: changed(c2=RELAY.x509(key=rsa_key(2048))), "1024-bit"),
    "11 absent": (lambda: changed(c7=None), "no RSA to Ed25519"),
    "11 names another": (lambda: changed(c7=RELAY.cross(key=b"\x05" * 32)), "another Ed25519"),
    "11 expired": (lambda: changed(c7=RELAY.cross(NOW - DAY)), "expired"),
    "12 signed by another": (
        lambda: changed(c7=RELAY.cross(signer=rsa_key(1024, 1))),
        "badly signed",
    ),
    "12 cut": (lambda: changed(c7=RELAY.cross()[:-1]), "cut short"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_every_broken_check_is_refused(case: str) -> None:
    make, says = BROKEN[case]
    with pytest.raises(RemoteProtocolError, match=says):
        check(make())


def test_x509_dates_have_tors_slack() -> None:
    assert check(changed(c2=RELAY.x509(-9 * DAY, -1 * DAY))) == RELAY.identity
    assert check(changed(c2=RELAY.x509(29 * DAY, 50 * DAY))) == RELAY.identity


@pytest.mark.parametrize(
    "wrong",
    [
        RelayIdentity(RELAY.identity.rsa, b"\x07" * 32),
        RelayIdentity(b"\x07" * 20, RELAY.identity.ed25519),
    ],
)
def test_another_relay_than_expected_is_refused(wrong: RelayIdentity) -> None:
    with pytest.raises(RemoteProtocolError, match="another relay"):
        check(certs_body(RELAY.parts()), wrong)


def test_a_critical_extension_we_do_not_know_is_refused() -> None:
    good = RELAY.signing_cert()
    head, body = good[:39], good[40:-64]
    for flags, refused in ((1, True), (0, False)):
        data = head + b"\x02" + body + b"\0\1" + bytes([99, flags]) + b"x" + bytes(64)
        if refused:
            with pytest.raises(RemoteProtocolError, match="critical"):
                edcert.parse(data)
        else:
            assert edcert.parse(data).signer == bytes(RELAY.master.verify_key)


@given(st.binary(max_size=400))
def test_any_bytes_as_certs_are_refused_by_the_declared_error(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        check(data)
    for kind in (2, 4, 5, 7):
        with pytest.raises(RemoteProtocolError):
            check(changed(**{f"c{kind}": data}))


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_single_changed_byte_of_a_certificate_is_accepted_as_the_same_relay(
    at: int, mask: int
) -> None:
    body = bytearray(certs_body(RELAY.parts()))
    body[at % len(body)] ^= mask
    with pytest.raises(RemoteProtocolError):
        check(bytes(body), RELAY.identity)
