"""SOCKS5 as the proxy reads it: any bytes give events or the declared error, whole or bytewise."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.egress.limits import MAX_REASON
from bento.egress.socks_server import (
    REFUSE_METHODS,
    Event,
    Greeting,
    Login,
    Reply,
    Request,
    SocksError,
    SocksServer,
    encode_reply,
)
from bento.errors import RemoteProtocolError

HELLO = b"\x05\x01\x00"
Outcome = tuple[list[Event], tuple[str, bytes] | None, bytes]


def outcome(*pieces: bytes) -> Outcome:
    """Events, error, rest."""
    parser = SocksServer()
    events: list[Event] = []
    try:
        for piece in pieces:
            parser.receive(piece)
            while event := parser.next_event():
                events.append(event)
    except SocksError as error:
        return events, (error.detail, error.reply), b""
    return events, None, parser.rest


def request(data: bytes) -> Request:
    events, error, _ = outcome(HELLO + data)
    assert error is None
    assert isinstance(events[1], Request)
    return events[1]


def refusal(data: bytes) -> bytes:
    _, error, _ = outcome(data)
    assert error is not None
    return error[1]


def test_the_three_kinds_of_address_are_read() -> None:
    assert request(b"\x05\x01\x00\x01\x08\x08\x04\x04\x00\x50") == Request(
        None, IPv4Address("8.8.4.4"), 80
    )
    assert request(
        b"\x05\x01\x00\x04" + IPv6Address("2606:4700::1").packed + b"\x01\xbb"
    ) == Request(None, IPv6Address("2606:4700::1"), 443)
    assert request(b"\x05\x01\x00\x03\x0cExample.COM.\x01\xbb") == Request("example.com", None, 443)


def test_an_ipv4_mapped_address_is_its_ipv4_address_from_here_on() -> None:
    mapped = IPv6Address("::ffff:10.0.0.1")
    assert request(b"\x05\x01\x00\x04" + mapped.packed + b"\x00\x50").ip == ip_address("10.0.0.1")


@pytest.mark.parametrize(
    ("name", "ip"),
    [
        (b"127.0.0.1", "127.0.0.1"),
        (b"[::1]", "::1"),
        (b"::1", "::1"),
        (b"::ffff:10.0.0.1", "10.0.0.1"),
    ],
)
def test_an_address_sent_as_a_name_is_judged_as_an_address(name: bytes, ip: str) -> None:
    read = request(b"\x05\x01\x00\x03" + bytes((len(name),)) + name + b"\x00\x50")
    assert read == Request(None, ip_address(ip), 80)


@pytest.mark.parametrize(
    "name",
    [b"", b"127.1", b"0x7f000001", b"2130706433", b"a b", b"\xff\xfe", b"fe80::1%1", b"a..b"],
)
def test_a_name_that_is_none_is_refused(name: bytes) -> None:
    reply = refusal(HELLO + b"\x05\x01\x00\x03" + bytes((len(name),)) + name + b"\x00\x50")
    assert reply[:2] == bytes((5, Reply.ADDRESS_NOT_SUPPORTED))


def test_names_of_255_bytes_are_read_whole_before_they_are_judged() -> None:
    name = b".".join([b"a" * 63] * 3 + [b"a" * 61])
    assert len(name) == 253
    assert request(b"\x05\x01\x00\x03" + bytes((253,)) + name + b"\x00\x50").name == name.decode()
    assert refusal(HELLO + b"\x05\x01\x00\x03\xff" + b"a" * 255 + b"\x00\x50")[1] == 8


def test_what_is_sent_ahead_of_the_reply_is_kept_for_the_stream() -> None:
    _, _, rest = outcome(HELLO + b"\x05\x01\x00\x01\x08\x08\x08\x08\x00\x50GET /")
    assert rest == b"GET /"


@pytest.mark.parametrize("command", [2, 3, 0, 0xF0])
def test_only_connect_is_spoken(command: int) -> None:
    reply = refusal(HELLO + bytes((5, command, 0, 1)) + bytes(6))
    assert reply[:2] == bytes((5, Reply.COMMAND_NOT_SUPPORTED))
    assert b"TCP" in reply[10:]


def test_a_wrong_request_is_refused_at_its_first_wrong_byte() -> None:
    assert refusal(HELLO + b"\x05\x02")[1] == Reply.COMMAND_NOT_SUPPORTED
    assert refusal(HELLO + b"\x04") == b""


def test_a_long_reason_is_cut_between_two_characters() -> None:
    line = encode_reply(Reply.NOT_ALLOWED, "ä" * 1000)[10:]
    assert len(line) in (MAX_REASON - 1, MAX_REASON)
    assert set(line.decode("utf-8")) == {"ä", "\n"}


def test_a_client_that_offers_neither_a_name_nor_nothing_is_turned_away() -> None:
    assert refusal(b"\x05\x01\x01") == REFUSE_METHODS
    assert refusal(b"\x05\x00") == REFUSE_METHODS
    assert outcome(b"\x05\x02\x01\x00")[0] == [Greeting()]


def test_a_user_name_is_taken_when_it_is_offered_and_kept_with_the_request() -> None:
    events, error, rest = outcome(
        b"\x05\x02\x00\x02\x01\x03box\x05pass!\x05\x01\x00\x03\x0bexample.com\x01\xbbGET /"
    )
    assert error is None
    assert events == [Greeting(2), Login("box"), Request("example.com", None, 443, "box")]
    assert [event.answer for event in events[:2]] == [b"\x05\x02", b"\x01\x00"]
    assert rest == b"GET /"


@pytest.mark.parametrize("name", [b"a b", b"\x00", "ä".encode(), b"line\n"])
def test_a_user_name_of_other_than_visible_characters_is_refused(name: bytes) -> None:
    login = b"\x01" + bytes((len(name),)) + name + b"\x01x"
    assert refusal(b"\x05\x01\x02" + login) == b"\x01\x01"
    assert refusal(b"\x05\x01\x02\x05") == b""


def test_socks4_and_http_get_no_answer() -> None:
    assert refusal(b"\x04\x01\x00\x50\x08\x08\x08\x08\x00") == b""
    assert refusal(b"GET / HTTP/1.1\r\n\r\n") == b""


def test_an_unknown_kind_of_address_is_refused() -> None:
    assert refusal(HELLO + b"\x05\x01\x00\x02")[1] == Reply.ADDRESS_NOT_SUPPORTED


def test_nothing_more_is_read_after_the_request() -> None:
    parser = SocksServer()
    parser.receive(HELLO + b"\x05\x01\x00\x01\x08\x08\x08\x08\x00\x50" + HELLO)
    assert parser.next_event() == Greeting()
    assert isinstance(parser.next_event(), Request)
    assert parser.next_event() is None
    assert parser.rest == HELLO


_likely = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda methods, head, tail: bytes((5, len(methods))) + methods + head + tail,
        st.binary(max_size=4),
        st.sampled_from(
            [b"\5\1\0\1", b"\5\1\0\3", b"\5\1\0\4", b"\5\2\0\1", b"\5\1\1\1", b"\5\1\0\5"]
        ),
        st.binary(max_size=30),
    ),
    st.builds(
        lambda name, port, rest: (
            HELLO + b"\5\1\0\3" + bytes((len(name),)) + name + port.to_bytes(2, "big") + rest
        ),
        st.binary(max_size=255) | st.from_regex(rb"[a-z0-9.:-]{1,60}", fullmatch=True),
        st.integers(0, 65535),
        st.binary(max_size=10),
    ),
)


@given(_likely, st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_give_the_same_whole_in_pieces_and_bytewise(data: bytes, cuts: list[int]) -> None:
    whole = outcome(data)
    assert outcome(*(data[i : i + 1] for i in range(len(data)))) == whole
    edges = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in zip(edges, edges[1:], strict=False) if a <= b]
    if b"".join(pieces) == data:
        assert outcome(*pieces) == whole


@given(st.text(max_size=600), st.sampled_from([code for code in Reply if code]))
def test_a_failure_is_a_reply_and_one_short_line_of_text(reason: str, code: Reply) -> None:
    reply = encode_reply(code, reason)
    assert reply[:10] == bytes((5, code, 0, 1)) + bytes(6)
    line = reply[10:]
    assert len(line) <= MAX_REASON
    if line:
        assert line.decode("utf-8").endswith("\n")
        assert line.count(b"\n") == 1


def test_success_tells_nothing_about_the_box() -> None:
    assert encode_reply(Reply.SUCCEEDED, "reason") == b"\x05\x00\x00\x01" + bytes(6)
    assert Greeting().answer == b"\x05\x00"


def test_the_error_is_of_the_declared_kind() -> None:
    with pytest.raises(RemoteProtocolError):
        parser = SocksServer()
        parser.receive(b"\x00")
        parser.next_event()
