"""Prices: nothing when idle, a rent that rises with what is taken and with what is asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.box.pricing import Churn, Pricing, weight
from bento.protocol.manifest import MIB, Manifest

USUAL = Manifest()
PRICING = Pricing()


@given(st.floats(0, 0.499), st.integers(1, 1000))
def test_an_idle_box_asks_for_nothing(pressure, places):
    assert PRICING.price(USUAL, pressure, places) == 0


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_fuller_box_is_never_cheaper(one, other):
    low, high = sorted((one, other))
    assert PRICING.price(USUAL, low, 20) <= PRICING.price(USUAL, high, 20)


@given(st.integers(5, 1000))
def test_one_core_holds_a_fifth_of_the_places_at_most(places):
    minute = Manifest(lifetime=60)
    assert PRICING.core / PRICING.price(minute, 0.5, places) <= places / 5 * 1.001
    assert PRICING.core / PRICING.price(minute, 1.0, places) <= places / 10 * 1.001
    assert PRICING.price(minute, 7.0, places) == PRICING.price(minute, 1.0, places)


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (Manifest(), 60),
        (Manifest(lifetime=60), 1),
        (Manifest(lifetime=1), 1),
        (Manifest(lifetime=86400), 1440),
        (Manifest(lifetime=60, memory=640 * MIB), 10),
        (Manifest(lifetime=60, cpu=2.0), 4),
        (Manifest(lifetime=60, memory=MIB, cpu=0.01), 1),
    ],
)
def test_a_place_weighs_its_time_and_its_size(manifest, expected):
    assert weight(manifest) == expected


def test_starting_and_ending_in_a_loop_is_load_too_and_passes():
    now = [0.0]
    churn = Churn(lambda: now[0])
    for _ in range(1000):
        churn.add()
    assert churn.pressure == 1.0
    now[0] += 10
    assert churn.pressure == 0.0
