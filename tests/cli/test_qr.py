"""A ticket on the screen is the ticket: every cell of the code is where it belongs."""

import segno
from tests.cli.test_narrow import TICKET
from tests.e2e.command import bento

from bento.protocol.ticket import Ticket

WHITE, PLAIN = "\x1b[30;107m", "\x1b[0m"
CELLS = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}


def cells(err):
    """What a camera sees: the rows of dark and light cells between the colour marks."""
    drawn = [line for line in err.splitlines() if line.startswith(WHITE)]
    found = []
    for line in drawn:
        assert line.endswith(PLAIN)
        halves = [CELLS[mark] for mark in line.removeprefix(WHITE).removesuffix(PLAIN)]
        found += [[upper for upper, _ in halves], [lower for _, lower in halves]]
    return found


def test_the_code_on_the_terminal_is_the_tickets_own(tmp_path):
    done = bento("narrow", TICKET.encode(), "--uses", "3", "--qr")
    line = done.out.decode().strip()
    code = segno.make(line.upper(), mode="alphanumeric", error="l", micro=False)
    expected = [[int(bool(cell)) for cell in row] for row in code.matrix_iter(border=4)]
    seen = cells(done.err)
    assert seen[: len(expected)] == expected
    assert not any(map(any, seen[len(expected) :]))
    assert Ticket.parse(line.upper()) == Ticket.parse(line)


def test_it_fits_a_terminal_and_comes_with_every_command_that_shows_a_ticket():
    done = bento("ticket", TICKET.encode(), "--qr", "--json")
    seen = cells(done.err)
    assert done.json["sort"] == "ticket"
    assert len(seen[0]) < 80
    assert "--qr" in bento("install", "--help").out.decode()


def test_a_ticket_is_not_drawn_unasked():
    assert cells(bento("ticket", TICKET.encode()).err) == []
