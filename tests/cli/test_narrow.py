"""`bento narrow`, `bento ticket`, `bento holder`: weaker tickets, offline, in plain words."""

import time

import pytest
from tests.e2e.command import bento

from bento.protocol.capability import Capability
from bento.protocol.caveats import ATTACH, INVOKE, SHUTDOWN, AtBox, Only, Runs, Unknown
from bento.protocol.ticket import ShutdownTicket, Ticket, parse_any

ROOT = b"r" * 32
BORN = (AtBox(b"k" * 32), Runs(b"f" * 32))
TICKET = Ticket(b"b" * 20, Capability.mint(ROOT, b"n" * 16, *BORN, Only(INVOKE | ATTACH)))
END = ShutdownTicket(b"b" * 20, Capability.mint(ROOT, b"n" * 16, *BORN, Only(SHUTDOWN)))


def narrow(*words, line=TICKET):
    return bento("narrow", line.encode(), *words)


def test_a_narrowed_ticket_is_one_its_box_knows_and_says_what_it_may_do():
    done = narrow("--uses", "3", "--for", "10m", "--max-bytes", "1 MiB", "--op", "invoke")
    assert done.status == 0, done.err
    weaker = Ticket.parse(done.out.decode())
    assert weaker.token.counters(ROOT) is not None
    assert len(weaker.token.caveats) == len(TICKET.token.caveats) + 4
    for said in ("start sessions", "at most 3 sessions", "at most 1 MiB", "until 20", "6262"):
        assert said in done.err
    assert "go on with a session" not in done.err


def test_json_has_the_ticket_and_its_limits():
    done = bento("narrow", TICKET.encode(), "--uses", "2", "--for", "1h", "--json").json
    assert set(done) == {"ticket", "operations", "uses", "until", "max_bytes", "holders", "unknown"}
    assert (done["operations"], done["uses"], done["max_bytes"]) == (["invoke", "attach"], 2, None)
    shown = bento("ticket", done["ticket"], "--json").json
    assert shown["function"] == (b"f" * 32).hex()
    assert shown["until"] == done["until"]


def test_an_end_is_in_whole_minutes_and_not_too_early():
    (end,) = parse_any(narrow("--for", "90s").out.decode()).token.caveats[3:]
    assert end.time % 60 == 0
    assert time.time() + 60 < end.time < time.time() + 600


def test_two_tickets_narrowed_alike_are_counted_apart():
    first, second = (parse_any(narrow("--uses", "1").out.decode()).token for _ in range(2))
    assert first.counters(ROOT)[-1] != second.counters(ROOT)[-1]


def test_the_strictest_of_several_narrowings_is_shown():
    once = parse_any(narrow("--uses", "5", "--op", "invoke").out.decode())
    shown = bento("narrow", once.encode(), "--uses", "9", "--op", "attach", "--json").json
    assert (shown["uses"], shown["operations"]) == (5, [])
    assert "it allows nothing" in bento("ticket", shown["ticket"]).err


def test_a_shutdown_token_can_be_narrowed_as_well():
    weaker = ShutdownTicket.parse(narrow("--for", "1d", line=END).out.decode())
    assert weaker.token.counters(ROOT) is not None
    assert "end the instance" in bento("ticket", weaker.encode()).err


def test_a_ticket_can_be_bound_to_the_key_of_its_receiver():
    key = bento("holder", "--json").json["holder"]
    assert key.startswith("bentokey1")
    done = narrow("--holder", key)
    assert "only by the holder of the key" in done.err
    assert "whoever has it" not in done.err
    wrong = narrow("--holder", key[:-1])
    assert (wrong.status, "copy it again" in wrong.err) == (2, True)


def test_a_condition_of_a_newer_bento_is_kept_and_told():
    newer = Ticket(TICKET.box, TICKET.token.narrow(Unknown(b"\x02\xc8!")))
    done = narrow("--uses", "1", line=newer)
    assert "a condition this bento does not know" in done.err
    assert parse_any(done.out.decode()).token.counters(ROOT) is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to narrow by"),
        (("--uses", "0"), "--uses 0 makes no sense"),
        (("--uses", "-3"), "--uses -3 makes no sense"),
        (("--uses", "99999"), "whole number from 1 to"),
        (("--for", "soon"), "--for soon makes no sense"),
        (("--max-bytes", "much"), "--max-bytes much makes no sense"),
        (("--holder", "me"), "no holder's key"),
    ],
)
def test_words_that_make_no_sense_are_named(words, said):
    done = narrow(*words)
    assert done.status == 2
    assert said in done.err
    assert "hint: " in done.err


def test_a_line_typed_wrong_is_said_to_be_so():
    text = TICKET.encode()
    for command in ("ticket", "narrow"):
        done = bento(command, text[:50] + ("a" if text[50] != "a" else "b") + text[51:])
        assert (done.status, "incomplete or was altered" in done.err) == (2, True)
    assert "no ticket" in bento("ticket", "hello").err
