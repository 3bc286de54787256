"""Bytes of the control protocol -> replies and events, and back."""

from __future__ import annotations

import io

import pytest
import stem.response
import stem.response.events
import stem.socket
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.tor.transcripts import TRANSCRIPT

from bento.errors import TorError, UsageError
from bento.tor.control_codec import (
    MAX_COMMAND,
    MAX_LINES,
    Event,
    Line,
    Reply,
    ReplyParser,
    encode_command,
    parse_arguments,
    quote,
    unquote,
)

# Bytes that are nearly the protocol: its own words in a wrong order, and anything else.
PIECES = st.lists(
    st.sampled_from(
        [b"250 OK", b"250-a=b", b"250+a=", b"650 ", b"650+", b"STREAM 1 NEW ", b'K="v\\303" ']
        + [b"\r\n", b"\n", b"\r", b".\r\n", b"..", b"\0", b'"', b"\\", b"512 no", b"A=1 ", b"\xff"]
    )
    | st.binary(max_size=8),
    max_size=30,
).map(b"".join)


def outcome(chunks: list[bytes], **limits: int) -> list[Reply | Event] | None:
    """What a parser makes of bytes that come in these chunks; None if it refuses them."""
    parser = ReplyParser(**limits)
    messages = []
    try:
        for chunk in chunks:
            messages += parser.feed(chunk)
    except TorError:
        return None
    return messages


def parse(data: bytes) -> list[Reply | Event]:
    return ReplyParser().feed(data)


def one(data: bytes) -> Reply | Event:
    (message,) = parse(data)
    return message


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


# -- any bytes -----------------------------------------------------------------------------------


@settings(max_examples=300)
@given(PIECES)
@example(b"250+a=\r\n.\r\n250 OK\r\n")
@example(b"250+a=\r\n..\r\n.\r\n250 OK\r\n")
@example(b"650+A\r\n" + b"x" * 70 + b"\r\n.\r\n650 OK\r\n")
@example(b"250 " + b"x" * 60 + b"\r\n")
@example(b"250 " + b"x" * 61 + b"\r\n")
def test_any_bytes_give_the_same_whole_or_byte_by_byte_or_are_refused_both_ways(data):
    limits = {"max_line": 64, "max_message": 70}
    assert outcome([data], **limits) == outcome(bytewise(data), **limits)


@given(PIECES, st.binary(max_size=20))
def test_a_parser_that_refused_once_refuses_for_ever(data, more):
    parser = ReplyParser()
    try:
        parser.feed(b"\n" + data)
    except TorError:
        pass
    for chunk in (more, b"250 OK\r\n"):
        with pytest.raises(TorError):
            parser.feed(chunk)


@pytest.mark.parametrize(
    "data",
    [
        b"250 OK\n",
        b"\r\n",
        b"25 OK\r\n",
        b"250\r\n",
        b"250_OK\r\n",
        b"350 OK\r\n",
        b"\xb2\xb5\xb0 OK\r\n",
        b"250 a\0b\r\n",
        b"250 a\rb\r\n",
        b"250-a=b\r\n650 STREAM 1 NEW\r\n",
        b"650-CONF_CHANGED\r\n250 OK\r\n",
        b"650 \r\n",
        b"650 stream 1\r\n",
        b'650 STREAM 1 "open\r\n',
        b'650 STREAM 1 "shut"tight\r\n',
        b"650 STREAM A=1 A=2\r\n",
        b'650 STREAM A="\\777"\r\n',
        b"250+a=\r\nx\ny\r\n.\r\n250 OK\r\n",
    ],
)
def test_what_is_not_the_protocol_is_refused(data):
    with pytest.raises(TorError):
        parse(data)


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_line_is_never_longer_than_its_limit(limit, length):
    data = b"250 " + b"x" * length + b"\r\n"
    accepted = outcome([data], max_line=limit) is not None
    assert accepted == (len(data) - 2 <= limit)


@given(st.integers(3, 100), st.integers(0, 100))
def test_an_answer_is_never_larger_than_its_limit(limit, length):
    data = b"250+a=\r\n" + b"x" * length + b"\r\n.\r\n250 O\r\n"
    accepted = outcome([data], max_message=limit) is not None
    assert accepted == (len("a=") + length + len("O") <= limit)


def test_an_endless_line_or_answer_is_not_kept():
    line, data = ReplyParser(max_line=1000), ReplyParser(max_message=1000)
    data.feed(b"250+a=\r\n")
    for parser in (line, data):
        with pytest.raises(TorError):
            for _ in range(100):
                parser.feed(b"x" * 100)


def test_a_reply_has_a_bounded_number_of_lines():
    with pytest.raises(TorError):
        parse(b"250-\r\n" * (MAX_LINES + 1))


# -- meaning -------------------------------------------------------------------------------------


def test_a_reply_has_the_status_of_its_last_line():
    reply = one(b"512-bad address\r\n250 127.1.2.3=a.test\r\n")
    assert reply == Reply(250, (Line(512, "bad address"), Line(250, "127.1.2.3=a.test")))
    assert reply.is_ok
    assert reply.text == "127.1.2.3=a.test"


def test_data_comes_without_its_dots_and_with_plain_line_ends():
    reply = one(b"250+info=\r\n..dot\r\n\r\nend\r\n.\r\n250 OK\r\n")
    assert reply.lines[0] == Line(250, "info=", ".dot\n\nend")


def test_empty_data_is_empty():
    assert one(b"250+info=\r\n.\r\n250 OK\r\n").lines[0].data == ""


def test_a_carriage_return_that_a_relay_hid_in_its_contact_stays_data():
    reply = one(b"250+desc=\r\ncontact a\rb\r\n.\r\n250 OK\r\n")
    assert reply.lines[0].data == "contact a\rb"


def test_bytes_that_are_no_text_survive():
    text = one(b"250 \xff\xc3\xa9\r\n").text
    assert text.encode("utf-8", "surrogateescape") == b"\xff\xc3\xa9"


def test_an_event_has_its_words_and_its_keywords():
    event = one(b'650 STREAM 17 NEW 0 192.0.2.1:80 PURPOSE=USER SOCKS_USERNAME="a \\"b\\""\r\n')
    assert event == Event(
        "STREAM",
        ("17", "NEW", "0", "192.0.2.1:80"),
        {"PURPOSE": "USER", "SOCKS_USERNAME": 'a "b"'},
    )


def test_a_relay_name_with_an_equals_sign_is_no_keyword():
    assert one(b"650 CIRC 1 BUILT $AB=nick,$CD~nick\r\n").positional[2] == "$AB=nick,$CD~nick"


def test_a_log_line_is_taken_as_it_is():
    event = one(b'650 WARN He said "no. A=1 A=2\r\n')
    assert event == Event("WARN", ('He said "no. A=1 A=2',), {})


def test_an_event_of_several_lines_has_them_all():
    event = one(b"650-CONF_CHANGED\r\n650-Nickname=a b\r\n650 OK\r\n")
    assert event == Event("CONF_CHANGED", (), {}, None, (Line(650, "Nickname=a b"),))


def test_an_event_may_carry_data():
    event = one(b"650+HS_DESC_CONTENT addr id\r\nbody\r\n.\r\n650 OK\r\n")
    assert event == Event("HS_DESC_CONTENT", ("addr", "id"), {}, "body")


def test_events_between_replies_keep_their_order():
    messages = parse(b"250 one\r\n650 BW 1 2\r\n250 two\r\n")
    assert [type(message) for message in messages] == [Reply, Event, Reply]


# -- a real tor's words, and stem's reading of them ------------------------------------------------


def stem_messages() -> list[stem.response.ControlMessage]:
    file = io.BytesIO(TRANSCRIPT)
    return [stem.socket.recv_message(file) for _ in parse(TRANSCRIPT)]


def test_a_real_transcript_is_read_as_stem_reads_it():
    ours, theirs = parse(TRANSCRIPT), stem_messages()
    assert len(ours) > 400
    for mine, message in zip(ours, theirs, strict=True):
        contents = message.content(get_bytes=False)
        if isinstance(mine, Reply):
            assert [(line.status, *_text(line)) for line in mine.lines] == [
                (int(status), *content.partition("\n")[::2]) for status, _, content in contents
            ]


def _text(line: Line) -> tuple[str, str]:
    # stem joins a line and its data by a line feed
    return line.text, line.data or ""


def test_every_event_of_a_real_transcript_has_the_words_that_stem_finds():
    # stem reads these into attributes of their own and keeps no words
    special = {"CONF_CHANGED", "HS_DESC_CONTENT", "NEWCONSENSUS", "NS", "NOTICE", "WARN"}
    seen = set()
    for mine, message in zip(parse(TRANSCRIPT), stem_messages(), strict=True):
        if isinstance(mine, Reply) or mine.keyword in special:
            continue
        stem.response.convert("EVENT", message)
        seen.add(mine.keyword)
        assert list(mine.positional) == message.positional_args
        for key, value in message.keyword_args.items():
            assert mine.keywords[key] == value.strip('"') or "\\" in value
    assert seen >= {"BW", "CIRC", "HS_DESC", "NEWDESC", "STATUS_CLIENT", "STREAM"}


def test_a_real_transcript_is_the_same_in_any_pieces():
    whole = parse(TRANSCRIPT)
    assert outcome(bytewise(TRANSCRIPT)) == whole
    assert outcome([TRANSCRIPT[i : i + 77] for i in range(0, len(TRANSCRIPT), 77)]) == whole


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(TRANSCRIPT) - 1), st.binary(min_size=1, max_size=3))
def test_a_damaged_transcript_is_read_or_refused(position, damage):
    start = TRANSCRIPT.rfind(b"\r\n250 ", 0, position) + 2 if position else 0
    part = TRANSCRIPT[start : position + 2000]
    at = position - start
    outcome([part[:at] + damage + part[at + len(damage) :]])


# -- arguments and commands ------------------------------------------------------------------------


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_what_is_quoted_is_unquoted_again(text):
    assert unquote(quote(text)) == text
    assert parse_arguments(f"A={quote(text)} {quote(text)}") == ((text,), {"A": text})


@given(st.text())
def test_any_arguments_are_read_or_refused(text):
    try:
        parse_arguments(text)
    except TorError:
        pass


@pytest.mark.parametrize("text", ["", "a", '"', '"a', 'a"', '"a" ', '"a" "b"', 'K="a"', '"a\\"'])
def test_what_is_no_quoted_string_is_refused(text):
    with pytest.raises(TorError):
        unquote(text)


def test_octal_escapes_make_characters_of_several_bytes():
    assert unquote('"\\303\\251\\n\\x"') == "é\nx"


@given(st.text())
def test_a_command_is_always_exactly_one_line(text):
    try:
        encoded = encode_command(text)
    except UsageError:
        return
    assert encoded.endswith(b"\r\n")
    assert encoded.count(b"\n") == encoded.count(b"\r") == 1
    assert b"\0" not in encoded


@given(st.text(alphabet=".a\n\r", max_size=30))
def test_data_of_a_command_arrives_as_it_was(data):
    encoded = encode_command("POST", data)
    head, _, body = encoded.partition(b"\r\n")
    assert head == b"+POST"
    # A server's reply has the same form: our own reader undoes what the writer did.
    (reply,) = parse(b"250+x\r\n" + body + b"250 OK\r\n")
    plain = data.replace("\r\n", "\n")
    assert reply.lines[0].data == plain.removesuffix("\n")


def test_a_command_is_never_larger_than_its_limit():
    with pytest.raises(UsageError):
        encode_command("X", "y" * MAX_COMMAND)


@pytest.mark.parametrize(
    "line", ["", "GETINFO a\r\nQUIT", "GETINFO a\nQUIT", "A\rQUIT", "A\0", "\ud800"]
)
def test_a_command_cannot_smuggle_another_one(line):
    with pytest.raises(UsageError):
        encode_command(line)
