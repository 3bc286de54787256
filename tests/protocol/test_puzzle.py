"""The puzzle: its solutions are checked by one hash, and cost about what was asked."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import RemoteProtocolError
from bento.protocol import limits
from bento.protocol.puzzle import Quote, Solution, Solver, effort, solves

SEED = b"s" * limits.SEED


def solve(work):
    solver = Solver(Quote(work, 7, SEED))
    while (solution := solver.attempt(1000)) is None:
        pass
    return solver, solution


@given(st.integers(1, 5000))
def test_what_a_solver_finds_solves(work):
    _, solution = solve(work)
    assert solution.quote == Quote(work, 7, SEED)
    assert solution.holds


def test_a_solution_is_the_one_stated():
    nonce = bytes(range(16))
    digest = hashlib.sha256(b"bento puzzle v1\0" + SEED + nonce).digest()
    most = (1 << 256) // (int.from_bytes(digest, "big") + 1)
    assert solves(SEED, nonce, most)
    assert not solves(SEED, nonce, most + 1)


def test_the_work_is_what_was_asked_on_average():
    tried = [solve(500)[0].tried for _ in range(200)]
    assert 300 < sum(tried) / len(tried) < 800  # 500 +- 35: off by six deviations once in a billion


def test_two_solvers_never_look_in_the_same_place():
    assert solve(10)[1].nonce[:8] != solve(10)[1].nonce[:8]


@given(st.binary(max_size=64))
def test_any_bytes_are_a_solution_or_the_declared_error(raw):
    if len(raw) == limits.SOLUTION:
        assert Solution.parse(raw).encode() == raw
    else:
        with pytest.raises(RemoteProtocolError):
            Solution.parse(raw)


def test_a_price_is_told_in_time():
    assert effort(0) == "nothing"
    assert effort(1000) == "less than a second of work"
    assert effort(20_000_000) == "about 10 s of work"
