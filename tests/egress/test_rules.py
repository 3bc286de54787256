"""The egress list: a strict grammar, and `within` as the exact comparison of two lists."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.egress import EgressRules, IPAddress, Rule
from bento.egress.limits import MAX_RULES
from bento.errors import PolicyError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*:*", "*:*"),
        ("*:443", "*:443"),
        ("*:1-65535", "*:*"),
        ("Example.COM.:80-90", "example.com:80-90"),
        ("*.example.com:80", "*.example.com:80"),
        ("10.1.2.0/24:*", "10.1.2.0/24:*"),
        ("93.184.216.34:443", "93.184.216.34:443"),
        ("0.0.0.0/0:80", "0.0.0.0/0:80"),
        ("[2001:db9::]/32:443", "[2001:db9::]/32:443"),
        ("[2001:0DB9:0:0::1]:443-444", "[2001:db9::1]:443-444"),
        ("[::]/0:*", "[::]/0:*"),
    ],
)
def test_entries_are_read_and_shown_in_one_spelling(text: str, shown: str) -> None:
    assert str(Rule.parse(text)) == shown
    assert Rule.parse(shown) == Rule.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "*", "*:", ":80", "example.com", "example.com:", "a b:80", "http://a.test:80"),
        *("*:0", "*:65536", "*:080", "*:+80", "*:8 0", "*:-80", "*:80-", "*:90-80", "*:1-2-3"),
        *("*:٣", "*:http", "*.*:80", "*.:80", "a.*.test:80", "**.a.test:80", "*a.test:80"),
        *("10.0.0.1/24:80", "10.0.0.0/33:80", "10.0.0.0/:80", "10.0.0.0/08:80", "10.0.0:80"),
        *("256.0.0.1:80", "10.0.0.0/255.0.0.0:80", "0x7f.0.0.1:80", "1.2.3.4.5:80", "127.1:80"),
        *("::1:80", "[::1]80", "[::1:80", "[::1]/129:80", "[2001:db9::1]/32:80", "[fe80::1%2]:80"),
        *("[::ffff:1.2.3.4]:80", "[::ffff:0:0]/96:80", "[1.2.3.4]:80", "[::1]/64/64:80"),
        *("a" * 300 + ".test:80", "a..b:80", "bücher.test:80", "a_b-.test:80", "\n*:80", "*:80\n"),
    ],
)
def test_anything_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(PolicyError):
        Rule.parse(text)


@given(st.text(max_size=60) | st.from_regex(r"[*.\[\]:/a-z0-9-]{1,40}", fullmatch=True))
def test_any_text_is_an_entry_or_a_policy_error(text: str) -> None:
    try:
        rule = Rule.parse(text)
    except PolicyError:
        return
    assert Rule.parse(str(rule)) == rule


def test_a_list_is_bounded() -> None:
    with pytest.raises(PolicyError):
        EgressRules.parse(["*:80"] * (MAX_RULES + 1))


def test_an_empty_list_allows_nothing() -> None:
    assert not EgressRules.parse([]).allow("example.com", ip_address("8.8.8.8"), 80)
    assert not EgressRules.parse([]).may_allow("example.com", 80)


ALLOW = [
    ("*:80", "a.test", "8.8.8.8", 80, True),
    ("*:80", None, "8.8.8.8", 80, True),
    ("*:80", None, "8.8.8.8", 81, False),
    ("a.test:*", "a.test", "8.8.8.8", 5, True),
    ("a.test:*", "b.a.test", "8.8.8.8", 5, False),
    ("a.test:*", None, "8.8.8.8", 5, False),
    ("*.a.test:*", "b.a.test", None, 5, True),
    ("*.a.test:*", "c.b.a.test", None, 5, True),
    ("*.a.test:*", "a.test", None, 5, False),
    ("*.a.test:*", "ba.test", None, 5, False),
    ("8.8.8.0/24:53", "a.test", "8.8.8.8", 53, True),
    ("8.8.8.0/24:53", None, "8.8.9.8", 53, False),
    ("8.8.8.0/24:53", "a.test", None, 53, False),
    ("8.8.8.0/24:53", None, "::ffff:8.8.8.8", 53, True),
    ("[2606:4700::]/32:443", None, "2606:4700::1111", 443, True),
    ("[2606:4700::]/32:443", None, "8.8.8.8", 443, False),
    ("0.0.0.0/0:443", None, "2606:4700::1111", 443, False),
]


@pytest.mark.parametrize(("rule", "name", "ip", "port", "allowed"), ALLOW)
def test_an_entry_covers_what_it_says(
    rule: str, name: str | None, ip: str | None, port: int, allowed: bool
) -> None:
    address = None if ip is None else ip_address(ip)
    assert EgressRules.parse([rule]).allow(name, address, port) is allowed


def test_a_name_is_looked_up_only_if_an_entry_could_cover_it() -> None:
    rules = EgressRules.parse(["a.test:80", "8.8.8.0/24:53"])
    assert rules.may_allow("a.test", 80)
    assert rules.may_allow("any.test", 53)  # It may resolve into the network.
    assert not rules.may_allow("any.test", 80)
    assert not rules.may_allow("a.test", 81)


def test_every_entry_that_exceeds_is_named() -> None:
    policy = EgressRules.parse(["*:80", "*:443", "10.0.0.0/8:*"])
    manifest = EgressRules.parse(["*:80-81", "a.test:443", "10.1.0.0/16:5", "*:25"])
    assert [str(rule) for rule in manifest.exceeding(policy)] == ["*:80-81", "*:25"]
    assert not manifest.within(policy)


@pytest.mark.parametrize(
    ("manifest", "policy", "within"),
    [
        (["*:*"], ["*:1-80", "*:81-65535"], True),
        (["*:*"], ["*:1-80", "*:82-65535"], False),
        (["a.test:80"], ["0.0.0.0/0:*", "[::]/0:*"], False),
        (["*.b.a.test:80"], ["*.a.test:80"], True),
        (["*.a.test:80"], ["a.test:80"], False),
        (["a.test:80"], ["*.a.test:80"], False),
        (["b.a.test:80"], ["a.test:80"], False),
        (["10.0.0.0/8:80"], ["10.0.0.0/9:80", "10.128.0.0/9:80-90"], True),
        (["10.0.0.0/8:80"], ["10.0.0.0/9:80", "10.128.0.0/10:80"], False),
        (["[2001:db9::]/32:80"], ["[2001:db8::]/31:80"], True),
        ([], [], True),
        (["*:80"], [], False),
    ],
)
def test_within_looks_at_the_union_of_the_policy(
    manifest: list[str], policy: list[str], within: bool
) -> None:
    assert EgressRules.parse(manifest).within(EgressRules.parse(policy)) is within


# A small world in which every combination of hosts has a witness, so that `within` can be compared
# with going through all destinations one by one.
_HOSTS = st.sampled_from(
    ["*", "a.test", "*.a.test", "b.a.test", "*.b.a.test", "[2001:db9::]/127", "[2001:db9::1]"]
    + [f"10.0.0.{n}/{bits}" for bits in (29, 30, 31, 32) for n in range(0, 8, 1 << (32 - bits))]
)
_NAMES = ("a.test", "b.a.test", "c.a.test", "d.b.a.test", "elsewhere.test")
_ADDRESSES: tuple[IPAddress, ...] = (
    *(ip_address(f"10.0.0.{n}") for n in range(9)),
    *(ip_address(f"2001:db9::{n}") for n in range(3)),
)


@st.composite
def _rules(draw: st.DrawFn) -> EgressRules:
    entries = []
    for _ in range(draw(st.integers(0, 5))):
        low = draw(st.integers(1, 5))
        entries.append(f"{draw(_HOSTS)}:{low}-{draw(st.integers(low, 5))}")
    return EgressRules.parse(entries)


def _destinations(rules: EgressRules) -> set[tuple[object, int]]:
    named = {
        (name, port) for name in _NAMES for port in range(1, 6) if rules.allow(name, None, port)
    }
    literal = {
        (ip, port) for ip in _ADDRESSES for port in range(1, 6) if rules.allow(None, ip, port)
    }
    return named | literal


@given(_rules(), _rules())
def test_within_means_no_destination_more(manifest: EgressRules, policy: EgressRules) -> None:
    assert manifest.within(policy) == (_destinations(manifest) <= _destinations(policy))
