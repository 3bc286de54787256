"""Which relays a circuit goes through."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import TorError
from bento.tor.consensus import BandwidthWeights, Network, RouterStatus
from bento.tor.path import PathChooser, parse_guards

GOOD = "Running Valid Fast Stable"


def relay(number: int, flags: str = GOOD, bandwidth: int = 100, net: int = -1) -> RouterStatus:
    net = number if net < 0 else net
    return RouterStatus(
        f"{number:040X}",
        f"r{number}",
        f"10.{net}.0.{number}",
        9001,
        frozenset(flags.split()),
        bandwidth,
    )


def chooser(*relays: RouterStatus, subnets: bool = True, **weights: int) -> PathChooser:
    network = Network({r.fingerprint: r for r in relays}, BandwidthWeights(**weights))
    return PathChooser(network, distinct_subnets=subnets, rng=random.Random(7))


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([GOOD, "Running Valid", "Valid"]))))
def test_a_middle_is_another_running_relay_of_another_network(kinds):
    relays = [relay(k, flags, net=net) for k, (net, flags) in enumerate(kinds, 1)]
    ends = [relay(200, net=0), relay(201, net=9)]
    try:
        middle = chooser(*relays, *ends).middle(ends)
    except TorError:
        assert not any("Running" in r.flags and not r.address.startswith("10.0.") for r in relays)
        return
    assert middle.fingerprint not in {end.fingerprint for end in ends}
    assert not middle.address.startswith(("10.0.", "10.9."))
    assert "Running" in middle.flags


def test_without_the_subnet_rule_neighbours_may_meet():
    ends = [relay(1, net=0), relay(2, net=0)]
    middle = relay(3, net=0)
    assert chooser(*ends, middle, subnets=False).middle(ends) == middle
    with pytest.raises(TorError):
        chooser(*ends, middle).middle(ends)


def test_middles_are_chosen_by_tor_s_weights():
    plain, guard, big = relay(1), relay(2, f"{GOOD} Guard"), relay(3, bandwidth=300)
    choose = chooser(plain, guard, big, guard=5000)
    counts = Counter(choose.middle([]).nickname for _ in range(9000))
    assert counts["r1"] == pytest.approx(2000, rel=0.1)
    assert counts["r2"] == pytest.approx(1000, rel=0.1)
    assert counts["r3"] == pytest.approx(6000, rel=0.1)


def test_where_no_relay_has_weight_all_count_alike():
    choose = chooser(relay(1, bandwidth=0), relay(2, bandwidth=0))
    assert {choose.middle([]).nickname for _ in range(50)} == {"r1", "r2"}


def test_stable_fast_relays_come_first_and_others_where_there_are_none():
    slow = relay(1, "Running Valid", bandwidth=10**6)
    assert chooser(slow, relay(2)).middle([]).nickname == "r2"
    assert chooser(slow).middle([]).nickname == "r1"


def test_a_banned_relay_is_never_taken_and_an_avoided_one_only_if_none_is_left():
    one, two = relay(1), relay(2)
    choose = chooser(one, two)
    assert all(choose.middle([], avoided={one.fingerprint}) == two for _ in range(20))
    assert choose.middle([], avoided={one.fingerprint}, banned={two.fingerprint}) == one
    with pytest.raises(TorError, match="no relay left"):
        choose.middle([], banned={one.fingerprint, two.fingerprint})


def test_a_relay_that_is_not_running_is_no_last_hop():
    choose = chooser(relay(1), relay(2, "Valid"))
    assert choose.relay(relay(1).fingerprint.lower()) == relay(1)
    for fingerprint in (relay(2).fingerprint, relay(3).fingerprint, "x" * 1000):
        with pytest.raises(TorError, match="not running") as refused:
            choose.relay(fingerprint)
        assert len(str(refused.value)) < 200


def test_guards_keep_tor_s_order_and_are_never_near_the_last_hop():
    last = relay(5, net=1)
    relays = [relay(1, net=1), relay(2), relay(3), last]
    names = [r.fingerprint for r in (relay(3), last, relay(1, net=1), relay(9), relay(2))]
    assert chooser(*relays).guards(names, last) == [relay(3), relay(2)]


def test_guards_that_work_come_before_those_not_tried():
    text = "\n".join(
        f"${k:040X}~n {state}"
        for k, state in enumerate(
            ["never-connected", "up", "down 2026-01-01 00:00:00", "unusable", "up"], 1
        )
    )
    assert parse_guards(text) == [f"{k:040X}" for k in (2, 5, 1)]
    assert parse_guards("") == []


@given(st.text())
def test_any_text_has_guards_or_none(text):
    assert all(isinstance(name, str) for name in parse_guards(f"${text}"))
