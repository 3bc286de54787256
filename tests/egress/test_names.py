"""Host names have one spelling, and no name is secretly an address."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.egress.names import parse_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.Com.", "example.com"),
        ("localhost", "localhost"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("1.2.3.4.example", "1.2.3.4.example"),
        ("a" * 63 + ".test", "a" * 63 + ".test"),
    ],
)
def test_a_name_is_spelled_in_one_way(text: str, name: str) -> None:
    assert parse_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "a..b", ".a", "-a.test", "a-.test", "a b.test", "a\0b", "bücher.test"),
        *("a" * 64 + ".test", "a." * 127 + "aa", "*.test", "a/b", "user@host", "a:80", "[::1]"),
        *("1.2.3.4", "127.1", "2130706433", "0x7f000001", "1.2.3.0x4", "0177.0.0.1", "example.1"),
        *("٣.test", "a.٣", "0x", "e.0x"),
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    assert parse_name(text) is None


@given(st.text(alphabet="0123456789abcdefx.", min_size=1, max_size=20))
def test_nothing_that_the_c_library_takes_for_an_address_is_a_name(text: str) -> None:
    try:
        socket.inet_aton(text)
    except OSError:
        return
    assert parse_name(text) is None


@given(st.ip_addresses())
def test_no_literal_address_is_a_name(ip: object) -> None:
    assert parse_name(str(ip)) is None
    assert ip_address(str(ip)) == ip


@given(st.text(max_size=300))
def test_a_name_stays_the_same_when_read_again(text: str) -> None:
    name = parse_name(text)
    if name is not None:
        assert parse_name(name) == name
        assert len(name) <= 253
