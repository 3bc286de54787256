"""Relay messages: strict bodies, captured examples, any bytes or the declared error."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.onion import relay
from bento.onion.relay import Answer, Begin, Connected, RelayMessage

PARSERS = [
    relay.parse_begin,
    relay.parse_connected,
    relay.parse_created2,
    relay.parse_end,
    relay.parse_resolved,
    relay.parse_sendme,
    relay.parse_xoff,
    relay.parse_xon,
]


@pytest.mark.parametrize("parse", PARSERS, ids=lambda p: p.__name__)
@given(data=st.binary(max_size=498))
def test_any_bytes_parse_or_raise_the_declared_error(parse, data: bytes) -> None:
    try:
        parse(data)
    except RemoteProtocolError:
        pass


@given(st.integers(0, 255), st.integers(0, 0xFFFF), st.binary(max_size=498))
def test_a_message_survives_its_own_reader(command: int, stream: int, data: bytes) -> None:
    body = bytes(relay.pack_body(RelayMessage(command, stream, data)))
    assert len(body) == 509
    assert relay.parse_bodies(body) == [RelayMessage(command, stream, data)]


def test_padding_is_four_zeros_then_random() -> None:
    one, two = (bytes(relay.pack_body(RelayMessage(3, 1, b"abc"))) for _ in range(2))
    assert one[14:18] == bytes(4)
    assert one[18:] != two[18:]


def test_begin_names_host_and_port() -> None:
    assert relay.pack_begin("example.com", 443) == b"example.com:443\0\0\0\0\0"
    assert relay.pack_begin("2001:db8::1", 80, 1) == b"[2001:db8::1]:80\0\0\0\0\1"
    assert relay.parse_begin(b":80\0") == Begin("", 80, 0)
    assert relay.parse_begin(relay.pack_begin("2001:db8::1", 80, 7)) == Begin("2001:db8::1", 80, 7)


@pytest.mark.parametrize("data", [b"", b"a:80", b"a\0", b"a:\0", b"a:x\0", b"a:0\0", b"a:65536\0"])
def test_a_begin_that_names_nothing_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        relay.parse_begin(data)


@pytest.mark.parametrize(
    ("host", "port"), [("a", 0), ("a", 70000), ("a\0b", 80), ("a" * 498, 1), ("é", 80)]
)
def test_a_begin_that_fits_no_cell_is_our_own_fault(host: str, port: int) -> None:
    with pytest.raises(LocalProtocolError):
        relay.pack_begin(host, port)


def test_connected_says_where_to() -> None:
    assert relay.parse_connected(b"") == Connected(None, None)
    v4 = ipaddress.ip_address("192.0.2.7")
    assert relay.parse_connected(v4.packed + b"\0\0\1\0") == Connected(v4, 256)
    v6 = ipaddress.ip_address("2001:db8::7")
    assert relay.parse_connected(bytes(4) + b"\6" + v6.packed + bytes(4)) == Connected(v6, 0)


def test_resolved_lists_answers_with_their_kind() -> None:
    data = b"\4\4\xc0\0\2\7\0\0\0\x3c" + b"\0\3a.b\0\0\0\1" + b"\xf1\0\0\0\0\2" + b"\x55\1x\0\0\0\3"
    assert relay.parse_resolved(data) == [
        Answer(ipaddress.ip_address("192.0.2.7"), None, 60),
        Answer(None, "a.b", 1),
        Answer(None, None, 2),
    ]


def test_flow_messages() -> None:
    assert relay.pack_xoff() == b"\0"
    assert relay.parse_xon(relay.pack_xon(77)) == 77
    assert relay.pack_sendme(bytes(range(32))) == b"\1\0\x14" + bytes(range(20))
    with pytest.raises(RemoteProtocolError, match="version"):
        relay.parse_xon(b"\1\0\0\0\0")


def test_reasons_have_names() -> None:
    assert relay.end_name(4) == "EXITPOLICY"
    assert relay.end_name(99) == "reason 99"
    assert relay.parse_end(b"") == 1
