"""Bytes -> raw commands: nothing slips in between the lines, whole or in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.firewall.limits import MAX_DATA, MAX_LINE
from bento.firewall.reader import CommandReader, RawCommand
from bento.firewall.refusal import Refusal


def read(*pieces: bytes) -> list[tuple]:
    reader = CommandReader()
    taken = []
    for piece in pieces:
        reader.feed(piece)
        while (item := reader.next()) is not None:
            if isinstance(item, RawCommand):
                taken.append((item.keyword, item.arguments, item.data))
            else:
                taken.append((item.status, item.text))
    return taken


def bytewise(data: bytes) -> list[tuple]:
    return read(*(data[at : at + 1] for at in range(len(data))))


def test_lines_may_come_together_or_in_pieces():
    assert read(b"getinfo version\r\nQUIT\r\n") == [
        ("GETINFO", "version", None),
        ("QUIT", "", None),
    ]
    assert read(b"QU", b"IT\r", b"\n") == [("QUIT", "", None)]


def test_a_bare_line_feed_ends_a_line_as_in_tor():
    assert read(b"QUIT\nQUIT\r\n") == [("QUIT", "", None)] * 2


@pytest.mark.parametrize(
    "line", [b"A\rB", b"A \x00", b"A\tB", b"A \x7f", b"A \xff", b"", b" A", b"A-B", b"A" * 33]
)
def test_a_malformed_line_is_refused_and_the_next_is_read(line):
    first, second = read(line + b"\r\nQUIT\r\n")
    assert first[0] == 500
    assert second == ("QUIT", "", None)


def test_data_is_unstuffed_and_bounded_by_its_dot():
    taken = read(b"+HSPOST x\r\none\r\n..two\r\n.\r\nQUIT\r\n")
    assert taken == [("HSPOST", "x", b"one\n.two\n"), ("QUIT", "", None)]


def test_commands_inside_data_are_data():
    assert read(b"+HSPOST x\r\nSIGNAL SHUTDOWN\r\n.\r\n") == [("HSPOST", "x", b"SIGNAL SHUTDOWN\n")]


def test_data_of_a_malformed_command_is_swallowed():
    """Else its lines would be read as commands."""
    assert [item[0] for item in read(b"+bad-name\r\nSIGNAL HALT\r\n.\r\nQUIT\r\n")] == [500, "QUIT"]


@pytest.mark.parametrize("bad", [b"a\x00b", b"a\rb", b"\xff"])
def test_data_must_be_printable(bad):
    assert read(b"+HSPOST x\r\n" + bad + b"\r\n.\r\n")[0][0] == 512


def test_a_line_over_the_limit_ends_the_stream():
    longest = b"A " + b"x" * (MAX_LINE - 3)
    assert read(longest + b"\n")[0][0] == "A"
    assert [item[0] for item in read(longest + b"xx\nQUIT\r\n")] == [500]
    assert [item[0] for item in bytewise(longest + b"xx")] == [500]


def test_data_over_the_limit_ends_the_stream():
    line = b"x" * 1023 + b"\n"
    fits = b"+HSPOST x\n" + line * (MAX_DATA // 1024)
    assert read(fits + b".\n")[0][0] == "HSPOST"
    assert [item[0] for item in read(fits + b"\n.\nQUIT\n")] == [500]


def test_an_unfinished_command_holds_no_more_than_its_limits():
    reader = CommandReader()
    for _ in range(1000):
        reader.feed(b"x" * 1000)
        if isinstance(reader.next(), Refusal):
            break
    assert reader.dead and reader.buffered == 0
    reader.feed(b"QUIT\r\n")
    assert reader.next() is None


def test_a_raw_command_does_not_show_its_arguments():
    [command] = [CommandReader()]
    command.feed(b"ADD_ONION ED25519-V3:secret\r\n")
    assert "secret" not in repr(command.next())


PIECES = st.lists(
    st.sampled_from(
        [
            b"+",
            b".",
            b"..",
            b"\r",
            b"\n",
            b"\r\n",
            b".\r\n",
            b"\x00",
            b"GETINFO ",
            b"HSPOST x",
            b'"',
        ]
    )
    | st.binary(max_size=6),
    max_size=40,
)


@given(PIECES)
def test_whole_and_bytewise_are_the_same(pieces):
    data = b"".join(pieces)
    assert read(data) == bytewise(data)
