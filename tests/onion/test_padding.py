"""Link padding: silence, then one cell, at C-tor's random times."""

import random

from hypothesis import given
from hypothesis import strategies as st

from bento.onion.padding import LinkPadding, PaddingRange


def test_the_wait_is_the_larger_of_two_draws() -> None:
    draws = iter([2000, 7000, 4000, 1500])
    padding = LinkPadding(PaddingRange(), lambda low, high: next(draws), now=100.0)
    assert padding.due_in(100.0) == 7.0
    padding.sent(107.0)
    assert padding.due_in(107.0) == 4.0


def test_traffic_either_way_starts_the_silence_again() -> None:
    padding = LinkPadding(PaddingRange(), lambda low, high: high, now=0.0)
    padding.traffic(9.0)
    assert padding.due_in(9.5) == 9.0


@given(st.integers(-5, 10**6), st.integers(-5, 10**6), st.integers())
def test_any_consensus_values_give_a_sane_wait(low: int, high: int, seed: int) -> None:
    span = PaddingRange(low, high)
    padding = LinkPadding(span, random.Random(seed).randint, now=0.0)
    assert padding.enabled == (high > 0)
    if padding.enabled:
        assert span.low_ms / 1000 <= padding.due_in(0.0) <= span.high_ms / 1000 <= 60


def test_waits_have_the_published_range_and_mean() -> None:
    uniform = random.Random(7).randint
    waits = [LinkPadding(PaddingRange(), uniform, 0.0).due_in(0.0) for _ in range(4000)]
    assert min(waits) >= 1.5
    assert max(waits) <= 9.5
    assert 6.6 < sum(waits) / len(waits) < 7.1  # 1.5 + 8 * 2/3
