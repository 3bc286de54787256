"""No two shards of a file where they fail together."""

import random
from itertools import combinations

import pytest

from bento.errors import BoxError
from bento.functions.shard.diversity import RULES, choose, kin
from bento.tor.boxes import operator_of
from bento.tor.discovery import Announcement, RelayEntry

EVERY = tuple(RULES)


def relay(number, address, family=(), operator=""):
    return RelayEntry(
        fingerprint=f"{number:040X}",
        nickname=f"relay{number}",
        address=address,
        or_port=9001,
        flags=frozenset(),
        bandwidth=1,
        family=frozenset(f"{member:040X}" for member in family),
        exit_policy_summary="",
        announcement=Announcement(port=5000, key="A" * 43),
        operator=operator,
    )


def test_what_makes_two_boxes_kin():
    box = relay(1, "10.1.2.3", [5], "alice@example.org")
    assert kin(box, relay(2, "10.1.9.9"), ["network"])
    assert not kin(box, relay(2, "10.2.2.3"), EVERY)
    assert kin(box, relay(5, "10.2.2.3"), ["family"])
    assert kin(relay(5, "10.2.2.3"), box, ["family"])  # named by one is enough
    assert kin(box, relay(2, "10.2.2.3", operator="alice@example.org"), ["operator"])
    assert not kin(relay(1, "10.1.1.1"), relay(2, "10.2.1.1"), ["operator"])  # both say nothing
    assert not kin(box, relay(2, "10.1.9.9"), ["family", "operator"])
    assert kin(box, box, [])  # never twice the same


def test_networks_of_ipv6_and_of_one_machine():
    assert kin(relay(1, "2001:db8:1::1"), relay(2, "2001:db8:ffff::1"), EVERY)
    assert not kin(relay(1, "2001:db8::1"), relay(2, "2001:db9::1"), EVERY)
    assert not kin(relay(1, "127.77.0.1"), relay(2, "127.77.0.2"), EVERY)
    assert not kin(relay(1, "10.1.1.1"), relay(2, "a01::1"), EVERY)


def test_no_two_chosen_are_kin_to_each_other_or_to_those_taken():
    source = random.Random(1)
    entries = [relay(n, f"10.{n % 7}.{n}.1", operator=f"op{n % 9}") for n in range(1, 60)]
    taken = [relay(100, "10.3.0.1")]
    for _ in range(30):
        chosen = choose(entries, 5, EVERY, taken, source.randrange)
        for one, other in combinations([*chosen, *taken], 2):
            assert not kin(one, other, EVERY)


def test_too_few_unrelated_boxes_are_told():
    entries = [relay(n, f"10.1.{n}.1") for n in range(1, 5)]
    with pytest.raises(BoxError, match="2 unrelated boxes are needed and 1 were found"):
        choose(entries, 2, EVERY)
    assert len(choose(entries, 4, ["family"])) == 4


def test_an_operator_is_what_the_contact_says_beside_the_announcement():
    assert operator_of("Alice <a@b> bento=1 port=5000 key=xyz") == "alice <a@b>"
    assert operator_of("bento=1 onion=abc key=xyz") == ""
