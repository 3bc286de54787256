"""A ticket is whole and unaltered, or it is an error that says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import UsageError
from bento.protocol import limits
from bento.protocol.capability import Capability
from bento.protocol.caveats import ATTACH, INVOKE, AtBox, Only, Runs, Uses
from bento.protocol.ticket import SessionTicket, ShutdownTicket, Ticket, parse_any

BOX, KEY, FUNCTION = b"b" * 20, b"k" * 32, b"f" * 32
TOKEN = Capability.mint(b"r" * 32, b"n" * 16, AtBox(KEY), Runs(FUNCTION), Only(INVOKE | ATTACH))
LINES = [
    Ticket(BOX, TOKEN),
    Ticket(BOX, TOKEN, pin=b"p" * 32),
    Ticket(BOX, TOKEN.narrow(Uses(bytes(8), 3)), b"p" * 32, b"d" * 32),
    ShutdownTicket(BOX, TOKEN),
    SessionTicket(BOX, TOKEN, b"s" * 16, b"o" * 16),
    SessionTicket(BOX, TOKEN, b"s" * 16, b"o" * 16, b"p" * 32),
]
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567890189-"


@pytest.mark.parametrize("line", LINES, ids=lambda line: type(line).__name__)
def test_a_line_comes_back_as_it_was(line):
    text = line.encode()
    assert type(line).parse(text) == line == parse_any(text)
    assert text == text.lower()
    assert type(line).parse(f" {text[:30]}\n{text[30:].upper()} ") == line


def test_a_ticket_says_which_box_and_code_it_is_for():
    assert (LINES[0].box, LINES[0].key, LINES[0].function) == (BOX, KEY, FUNCTION)


@given(st.sampled_from(LINES), st.data())
def test_any_single_wrong_character_is_noticed(line, data):
    text = line.encode()
    at = data.draw(st.integers(len(line.PREFIX), len(text) - 1))
    wrong = data.draw(st.sampled_from(ALPHABET))
    if text[at] != wrong:
        with pytest.raises(UsageError) as caught:
            type(line).parse(text[:at] + wrong + text[at + 1 :])
        assert caught.value.hint == "copy it again, whole"


@given(st.text(max_size=200))
def test_any_text_is_a_ticket_or_a_usage_error(text):
    for candidate in (text, "bento1" + text):
        with pytest.raises(UsageError):
            Ticket.parse(candidate)


@given(st.binary(max_size=300))
def test_any_bytes_under_a_right_check_are_a_ticket_or_a_usage_error(body):
    import base64

    for line in (Ticket, SessionTicket):
        whole = bytes([2]) + body
        raw = whole + line._check(whole)
        text = line.PREFIX + base64.b32encode(raw).decode().rstrip("=").lower()
        try:
            assert line.parse(text).encode() == text
        except UsageError:
            pass


@pytest.mark.parametrize("cut", [1, 5, 20, 100])
def test_a_cut_ticket_is_noticed(cut):
    with pytest.raises(UsageError, match="incomplete or was altered"):
        Ticket.parse(LINES[0].encode()[:-cut])


def test_one_sort_of_line_is_not_taken_for_another():
    for line in LINES:
        for other in LINES:
            if type(line) is not type(other):
                with pytest.raises(UsageError, match="begins with|is no"):
                    type(other).parse(line.encode())


def test_a_field_of_a_newer_bento_is_named_as_such():
    class Newer(Ticket):
        def encode(self):
            import base64

            body = base64.b32decode(
                Ticket.encode(self)[6:].upper() + "======"[: -len(Ticket.encode(self)[6:]) % 8]
            )
            body = body[:-4] + b"\x63\x00\x01x"
            return "bento1" + base64.b32encode(body + self._check(body)).decode().lower().rstrip(
                "="
            )

    with pytest.raises(UsageError) as caught:
        Ticket.parse(Newer(BOX, TOKEN).encode())
    assert caught.value.hint == "use a newer bento"


def test_a_ticket_never_shows_its_secrets():
    for line in LINES:
        shown = repr(line)
        for secret in (line.token.seal, b"d" * 32, b"s" * 16, b"o" * 16):
            assert repr(secret)[2:-1] not in shown
            assert secret.hex() not in shown


def test_parts_have_fixed_sizes_and_the_token_one_box():
    for make in (
        lambda: Ticket(b"b", TOKEN),
        lambda: Ticket(BOX, TOKEN, pin=b"p"),
        lambda: SessionTicket(BOX, TOKEN, b"", b"o" * 16),
        lambda: Ticket(BOX, TOKEN.narrow(AtBox(b"x" * 32))),
        lambda: Ticket(BOX, Capability.mint(b"r", b"n" * 16)),
    ):
        with pytest.raises(ValueError, match=r"bytes|one box"):
            make()


def test_a_sessions_line_can_start_nothing():
    line = LINES[0].session(b"s" * limits.SESSION_ID, b"o" * limits.OWNER)
    assert line.token.caveats == (*TOKEN.caveats, Only(ATTACH))
