"""A ticket is whole and unaltered, or it is an error that says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import UsageError
from bento.protocol.ticket import SessionTicket, ShutdownTicket, Ticket

PARTS = (b"b" * 20, b"k" * 32, b"t" * 32)
LINES = [Ticket(*PARTS), ShutdownTicket(*PARTS), SessionTicket(*PARTS, b"s" * 16, b"o" * 16)]


@pytest.mark.parametrize("line", LINES, ids=lambda line: type(line).__name__)
def test_a_line_comes_back_as_it_was(line):
    text = line.encode()
    assert type(line).parse(text) == line
    assert text == text.lower()
    assert type(line).parse(f" {text[:30]}\n{text[30:].upper()} ") == line


@given(st.binary(min_size=20, max_size=20), st.binary(min_size=32, max_size=32), st.data())
def test_any_single_wrong_character_is_noticed(box, token, data):
    text = Ticket(box, b"k" * 32, token).encode()
    at = data.draw(st.integers(len("bento1"), len(text) - 1))
    wrong = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567890189-"))
    if text[at] != wrong:
        with pytest.raises(UsageError):
            Ticket.parse(text[:at] + wrong + text[at + 1 :])


@given(st.text(max_size=200))
def test_any_text_is_a_ticket_or_a_usage_error(text):
    for candidate in (text, "bento1" + text):
        with pytest.raises(UsageError):
            Ticket.parse(candidate)


@pytest.mark.parametrize("cut", [1, 5, 20, 100])
def test_a_cut_ticket_is_noticed(cut):
    with pytest.raises(UsageError):
        Ticket.parse(LINES[0].encode()[:-cut])


def test_one_sort_of_line_is_not_taken_for_another():
    for line in LINES:
        for other in LINES:
            if type(line) is not type(other):
                with pytest.raises(UsageError, match="begins with|is no"):
                    type(other).parse(line.encode())


def test_a_ticket_never_shows_its_token():
    assert "tttt" not in repr(LINES[0])
    assert b"t" * 8 not in repr(LINES[2]).encode()


def test_parts_have_fixed_sizes():
    with pytest.raises(ValueError, match="bytes"):
        Ticket(b"b", b"k" * 32, b"t" * 32)
