"""Typed commands: any line parses or is refused, and what is rebuilt parses to the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.firewall.kit import CLIENT_KEY, OWN_SERVICE, RELAYS, SECRET_KEY

from bento.firewall import commands as c
from bento.firewall.grammar import PARSERS, Token, parse, tokens
from bento.firewall.reader import CommandReader, RawCommand
from bento.firewall.refusal import Refusal
from bento.firewall.rules import COMMANDS, Fate

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=80)


def read(line: str) -> c.Command:
    reader = CommandReader()
    reader.feed(line.encode() + b"\r\n")
    raw = reader.next()
    assert isinstance(raw, RawCommand)
    return parse(raw)


def test_every_command_that_is_not_refused_has_a_parser_and_no_other():
    allowed = {name for name, rule in COMMANDS.items() if rule.fate is not Fate.REFUSED}
    assert set(PARSERS) | {"AUTHENTICATE", "HSPOST"} == allowed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("a  b ", (Token("a"), Token("b"))),
        ('KEY="a b" c', (Token("KEY=", "a b"), Token("c"))),
        (r'"q\"\\"', (Token("", 'q"\\'),)),
        ("KEY=a=b==", (Token("KEY=a=b=="),)),
        ('""', (Token("", ""),)),
    ],
)
def test_arguments_split_at_spaces_outside_quotes(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize(
    "text", ['"', 'a"b"', '"a"b', '"a\\', '"\\n"', "a\\b", 'K=x"y"', 'K==""', '"a" "', '"a""b"']
)
def test_tricks_with_quotes_are_refused(text):
    with pytest.raises(Refusal):
        tokens(text)


@given(PRINTABLE)
def test_splitting_any_text_gives_tokens_or_a_refusal(text):
    try:
        assert all(isinstance(token, Token) for token in tokens(text))
    except Refusal:
        pass


@given(st.sampled_from(sorted(COMMANDS)), PRINTABLE, st.none() | st.binary(max_size=40))
def test_any_arguments_of_any_command_parse_or_are_refused(keyword, arguments, data):
    try:
        parse(RawCommand(keyword, arguments, data))
    except Refusal as refusal:
        assert refusal.text and 400 <= refusal.status < 600


RELAY = st.sampled_from(RELAYS)
PATHS = st.lists(RELAY, min_size=2, max_size=8, unique=True).map(tuple)
REBUILT = st.one_of(
    st.builds(
        c.ExtendCircuit, st.just(0), st.just(()) | PATHS, st.sampled_from(["", "controller"])
    ),
    st.builds(c.ExtendCircuit, st.integers(1, 2**32), PATHS),
    st.builds(c.CloseCircuit, st.integers(0, 2**32), st.booleans()),
    st.builds(c.AttachStream, st.integers(0, 2**64 - 1), st.integers(0, 2**32)),
    st.builds(c.CloseStream, st.integers(0, 2**64 - 1), st.integers(1, 255)),
    st.builds(c.SetEvents, st.lists(st.sampled_from(["CIRC", "STREAM"]), unique=True).map(tuple)),
    st.builds(c.DelOnion, st.just(OWN_SERVICE)),
    st.builds(c.HsFetch, st.just(OWN_SERVICE), st.lists(RELAY, max_size=8, unique=True).map(tuple)),
)


@given(REBUILT)
def test_what_is_written_for_tor_reads_back_as_the_same_command(command):
    assert read(command.line()) == command


@pytest.mark.parametrize("key", [None, c.ServiceKey(SECRET_KEY)])
@pytest.mark.parametrize("discard", [True, False])
@pytest.mark.parametrize("clients", [(), (CLIENT_KEY,)])
def test_a_rebuilt_onion_service_reads_back_with_the_boxs_target(key, discard, clients):
    ports = (c.ServicePort(80, None), c.ServicePort(443, None))
    command = c.AddOnion(key, ports, discard and key is None, 9, clients)
    assert read(command.line(("/run/one", "/run/two"))) == command


def test_a_service_key_is_never_shown():
    key = c.ServiceKey(SECRET_KEY)
    assert SECRET_KEY not in repr(c.AddOnion(key, (), False, 1)) + str(key)
    assert key == c.ServiceKey(SECRET_KEY) and hash(key) == hash(c.ServiceKey(SECRET_KEY))
