"""Quotas on a clock that the test turns."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.egress import DestinationLimits, Destinations, EgressLimits
from bento.egress.limits import MAX_DESTINATIONS
from bento.egress.meters import LimitReached, Meter, TokenBucket, destination_key


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_starts_full_and_fills_at_its_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(10, 50, clock)
    bucket.spend(60)
    assert bucket.tokens() == -10
    assert bucket.seconds_until(10) == pytest.approx(2)
    clock.now += 2
    assert bucket.tokens() == pytest.approx(10)
    clock.now += 1000
    assert bucket.tokens() == 50
    assert bucket.full


def test_a_bucket_never_asks_for_more_than_it_can_hold() -> None:
    bucket = TokenBucket(10, 5, Clock())
    assert bucket.seconds_until(100) == 0


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 10**6)), max_size=50))
def test_no_pattern_of_reads_passes_more_than_rate_and_burst(
    steps: list[tuple[float, int]],
) -> None:
    clock = Clock()
    limits = EgressLimits(bytes_per_second=1000, burst_bytes=5000, total_bytes=10**9)
    meter = Meter(limits, clock)
    passed = 0
    for seconds, wanted in steps:
        clock.now += seconds
        count = min(wanted, meter.allowance())
        meter.spend(count)
        passed += count
    assert passed <= 5000 + 1000 * (clock.now - 1000) + 1


def test_the_total_is_exact() -> None:
    meter = Meter(EgressLimits(total_bytes=10_000), Clock())
    meter.spend(9_990)
    assert meter.allowance() == 10
    assert not meter.exhausted
    meter.spend(10)
    assert meter.allowance() == 0
    assert meter.exhausted


def test_a_starved_meter_says_when_it_pays_to_come_back() -> None:
    clock = Clock()
    meter = Meter(EgressLimits(bytes_per_second=4096, burst_bytes=8192), clock)
    meter.spend(8192)
    assert meter.allowance() == 0
    assert meter.seconds() == pytest.approx(1)
    clock.now += meter.seconds() + 0.001
    assert meter.allowance() >= 4096


LIMITS = DestinationLimits(
    connections=3, connections_per_second=2, burst_connections=4, wait_seconds=1
)


def test_connections_to_one_place_are_counted_and_given_back() -> None:
    places = Destinations(LIMITS, Clock())
    for _ in range(3):
        assert places.claim("a") == 0
    with pytest.raises(LimitReached, match="a already has 3 open connections"):
        places.claim("a")
    assert places.claim("b") == 0
    places.release("a")
    assert places.claim("a") == 0


def test_new_connections_to_one_place_wait_their_turn_and_then_are_refused() -> None:
    clock = Clock()
    places = Destinations(replace(LIMITS, connections=100), clock)
    waits = [places.claim("a") for _ in range(6)]
    assert waits == pytest.approx([0, 0, 0, 0, 0.5, 1])
    with pytest.raises(LimitReached, match="2 per second"):
        places.claim("a")
    clock.now += 0.5
    assert places.claim("a") == pytest.approx(1)


def test_a_refused_claim_counts_nothing() -> None:
    clock = Clock()
    places = Destinations(replace(LIMITS, connections=100), clock)
    for _ in range(6):
        places.claim("a")
    for _ in range(100):
        with pytest.raises(LimitReached):
            places.claim("a")
    clock.now += 0.5
    assert places.claim("a") == pytest.approx(1)


def test_memory_for_destinations_is_bounded() -> None:
    clock = Clock()
    places = Destinations(LIMITS, clock)
    for number in range(3 * MAX_DESTINATIONS):
        places.claim(str(number))
        places.release(str(number))
        clock.now += 0.01
    assert len(places) <= MAX_DESTINATIONS


def test_too_many_destinations_at_once_are_refused() -> None:
    places = Destinations(LIMITS, Clock())
    for number in range(MAX_DESTINATIONS):
        places.claim(str(number))
    with pytest.raises(LimitReached, match="destinations"):
        places.claim("one more")


def test_what_is_one_destination() -> None:
    assert destination_key("a.test", ip_address("8.8.8.8")) == "8.8.8.8"
    assert destination_key("a.test", None) == "a.test"
    one, other = ip_address("2606:4700:1:2::1"), ip_address("2606:4700:1:2:ffff::9")
    assert destination_key(None, one) == destination_key(None, other) == "2606:4700:1:2::/64"
