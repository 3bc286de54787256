"""Quotes: made without memory, honoured once, for what they were made for, for a while."""

import pytest

from bento.box.quotes import Quotes
from bento.protocol.puzzle import Quote, Solution, Solver


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def quotes(clock):
    return Quotes(clock)


def solve(quote: Quote) -> bytes:
    solver = Solver(quote)
    while (solution := solver.attempt(1000)) is None:
        pass
    return solution.encode()


def test_a_solution_is_taken_once(quotes):
    raw = solve(quotes.quote(50, 1.0))
    assert quotes.redeem(raw, 1.0)
    assert not quotes.redeem(raw, 1.0)


def test_everybody_quoted_the_same_gets_the_same_seed(quotes):
    assert quotes.quote(50, 1.0) == quotes.quote(50, 1.0)


def test_the_price_of_a_small_function_buys_no_large_one(quotes):
    assert not quotes.redeem(solve(quotes.quote(50, 1.0)), 60.0)


def test_nobody_makes_a_quote_for_himself(quotes):
    real = quotes.quote(5000, 1.0)
    for work in (0, 1, 2):
        made = Solution(Quote(work, real.stamp, real.seed), bytes(16))
        assert not quotes.redeem(made.encode(), 1.0)
    guessed = Solution(Quote(1, real.stamp, bytes(16)), bytes(16))
    assert not quotes.redeem(guessed.encode(), 1.0)


def test_a_quote_of_another_box_or_of_before_a_restart_is_worth_nothing(quotes, clock):
    assert not quotes.redeem(solve(Quotes(clock).quote(50, 1.0)), 1.0)


def test_a_quote_ends(quotes, clock):
    raw = solve(quotes.quote(50, 1.0))
    clock.now += 60
    assert not quotes.redeem(raw, 1.0)


def test_a_dear_quote_lives_as_long_as_a_slow_machine_needs(quotes, clock, monkeypatch):
    monkeypatch.setattr(Solution, "holds", True)
    quote = quotes.quote(10_000_000, 1.0)  # 100 s of a telephone
    clock.now += 300
    assert quotes.redeem(Solution(quote, bytes(16)).encode(), 1.0)
    clock.now += 300
    assert not quotes.redeem(Solution(quote, bytes(15) + b"x").encode(), 1.0)


def test_a_spent_solution_stays_spent_until_its_quote_is_over_and_is_then_forgotten(quotes, clock):
    raw = solve(quotes.quote(50, 1.0))
    quotes.redeem(raw, 1.0)
    for _ in range(10):
        clock.now += 10
        assert not quotes.redeem(raw, 1.0)
    quotes.redeem(solve(quotes.quote(50, 1.0)), 1.0)
    assert len(quotes._spent) == 1


def test_what_the_box_failed_to_give_can_be_asked_for_again(quotes):
    raw = solve(quotes.quote(50, 1.0))
    quotes.redeem(raw, 1.0)
    quotes.restore(raw)
    assert quotes.redeem(raw, 1.0)
