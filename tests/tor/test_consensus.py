"""The network as tor knows it: relays, weights, families."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tor.transcripts import answers

from bento.errors import TorError
from bento.tor.consensus import (
    MAX_RELAYS,
    BandwidthWeights,
    Family,
    RouterStatus,
    parse_bandwidth_weights,
    parse_family,
    parse_statuses,
    related,
)

FINGERPRINT = "A1" * 20
DIGEST = base64.b64encode(bytes.fromhex(FINGERPRINT)).decode().rstrip("=")
ENTRY = f"""r nick {DIGEST} AAAA 2038-01-01 00:00:00 192.0.2.7 9001 0
a [2001:db8::1]:9001
s Fast Guard Running Valid
w Bandwidth=1234 Unmeasured=1
p accept 80,443"""


def relay(nickname: str = "nick", flags: str = "", bandwidth: int = 1) -> RouterStatus:
    fingerprint = nickname.encode().hex().upper().ljust(40, "0")
    return RouterStatus(
        fingerprint, nickname, "192.0.2.7", 9001, frozenset(flags.split()), bandwidth
    )


def test_an_entry_has_all_its_words():
    assert parse_statuses(ENTRY)[FINGERPRINT] == RouterStatus(
        FINGERPRINT,
        "nick",
        "192.0.2.7",
        9001,
        frozenset({"Fast", "Guard", "Running", "Valid"}),
        1234,
        "accept 80,443",
    )


def test_a_real_consensus_is_read_in_both_forms():
    short, full = answers("ns/all")[0], answers("dir/status-vote/current")[0]
    relays = parse_statuses(short)
    assert {r.nickname for r in relays.values()} == {
        "authority",
        "relay0",
        "relay1",
        "relay2",
        "exit",
    }
    entries = full[full.index("\nr ") + 1 : full.index("\ndirectory-footer")]
    again = parse_statuses(entries)
    assert {r.fingerprint: r.address for r in again.values()} == {
        r.fingerprint: r.address for r in relays.values()
    }


def test_no_network_is_no_relays():
    assert parse_statuses("") == {}


@given(st.text() | st.lists(st.sampled_from(ENTRY.split("\n"))).map("\n".join))
def test_any_text_is_a_consensus_or_refused(text):
    try:
        parse_statuses(text)
    except TorError:
        pass


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (DIGEST, DIGEST[:-1]),
        (DIGEST, "!" * 27),
        ("192.0.2.7", "192.0.2"),
        ("192.0.2.7", "2001:db8::7"),
        ("9001 0", "90010 0"),
        ("9001 0", "9001"),
        ("Bandwidth=1234", "Bandwidth=-1"),
        ("Bandwidth=1234", "Bandwidth=1e9"),
        (ENTRY, f"s Fast\n{ENTRY}"),
        (ENTRY, f"{ENTRY}\n{ENTRY}"),
    ],
)
def test_a_broken_entry_is_refused(old, new):
    with pytest.raises(TorError):
        parse_statuses(ENTRY.replace(old, new))


def test_the_number_of_relays_is_bounded():
    def entry(k: int) -> str:
        digest = base64.b64encode(k.to_bytes(20, "big")).decode().rstrip("=")
        return f"r n {digest} d d 192.0.2.7 9001 0"

    with pytest.raises(TorError):
        parse_statuses("\n".join(map(entry, range(MAX_RELAYS + 1))))


def test_weights_are_those_of_the_middle():
    footer = "directory-footer\nbandwidth-weights Wgm=1 Wmm=5 Wmg=6 Wme=7 Wmd=8 Web=9\nx"
    weights = parse_bandwidth_weights(f"r x\n{footer}")
    assert weights == BandwidthWeights(plain=5, guard=6, exit=7, both=8)
    flags = ("", "Guard", "Exit", "Guard Exit")
    assert [weights.in_the_middle(relay("a", f, 10)) for f in flags] == [50, 60, 70, 80]


def test_the_weights_of_a_real_consensus_are_read():
    weights = parse_bandwidth_weights(answers("dir/status-vote/current")[0])
    assert (weights.guard, weights.both) == (0, 3333)


def test_without_weights_all_relays_count_alike():
    assert parse_bandwidth_weights("nothing") == BandwidthWeights()


@pytest.mark.parametrize("value", ["-1", "10001", "x", "1_0"])
def test_broken_weights_are_refused(value):
    with pytest.raises(TorError):
        parse_bandwidth_weights(f"\nbandwidth-weights Wmm={value}\n")


# -- families --------------------------------------------------------------------------------------

ONE, OTHER = relay("one"), relay("other")


def test_two_relays_that_name_each_other_are_a_family():
    one = parse_family(ONE, f"x\nfamily ${OTHER.fingerprint} someone\ny")
    other = parse_family(OTHER, f"family ${ONE.fingerprint.lower()}~one")
    assert related(one, other)


def test_nicknames_count_as_in_tor():
    one, other = parse_family(ONE, "family OTHER"), parse_family(OTHER, "family one")
    assert related(one, other)


def test_one_side_alone_cannot_make_a_family():
    everybody = parse_family(ONE, f"family ${OTHER.fingerprint} other")
    assert not related(everybody, parse_family(OTHER, "family"))
    assert not related(parse_family(OTHER, ""), everybody)


def test_a_family_key_that_both_have_proved_is_enough():
    one = parse_family(ONE, "family-ids ed25519:abc ed25519:def")
    assert related(one, parse_family(OTHER, "family-ids ed25519:def"))
    assert not related(one, parse_family(OTHER, "family-ids ed25519:xyz"))


def test_no_family_is_not_a_common_one():
    assert not related(parse_family(ONE, ""), parse_family(OTHER, ""))


@given(st.text())
def test_any_descriptor_has_a_family(text):
    assert isinstance(parse_family(ONE, f"family {text}"), Family)


def test_a_real_descriptor_is_read():
    assert parse_family(ONE, answers("md/id/")[0]) == Family(ONE.fingerprint, "one")
