"""An answer's size and start are members of small public sets, and never too small or too early."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.functions.browser.packing import MAX_CONTENT_BYTES
from bento.functions.browser.sizes import (
    FLOOR_BYTES,
    MAX_ANSWER_BYTES,
    SIZE_SETS,
    padded_size,
    start_time,
)

sizes = st.integers(1, MAX_CONTENT_BYTES)
paddings = st.sampled_from(sorted(SIZE_SETS))


@given(paddings, sizes)
def test_a_padded_size_is_a_member_that_holds_the_content(padding: str, size: int) -> None:
    padded = padded_size(padding, size)
    assert padded >= size
    assert padded_size(padding, padded) == padded


@given(paddings, sizes)
def test_it_is_the_smallest_such_member(padding: str, size: int) -> None:
    """No size from `size` on to the padded one is itself a member."""
    padded = padded_size(padding, size)
    assert padded == size or padded_size(padding, padded - 1) == padded


@given(sizes)
def test_x2_is_the_powers_of_two_from_256_kib(size: int) -> None:
    padded = padded_size("x2", size)
    assert padded & (padded - 1) == 0
    assert padded >= 256 * 1024


@given(sizes)
def test_neighbours_in_x1_5_are_that_far_apart(size: int) -> None:
    padded = padded_size("x1.5", size)
    assert padded_size("x1.5", padded + 1) == pytest.approx(1.5 * padded, abs=1)


@pytest.mark.parametrize(("padding", "unit"), [("1MB", 1_000_000), ("7MB", 7_000_000)])
@given(size=sizes)
def test_the_papers_sets_are_exact_multiples(padding: str, unit: int, size: int) -> None:
    assert padded_size(padding, size) % unit == 0
    assert padded_size(padding, size) - size < unit


@pytest.mark.parametrize(
    ("size", "padded"),
    [(1, 1_000_000), (1_000_000, 1_000_000), (1_300_000, 2_000_000), (1_999_000, 2_000_000),
     (2_001_000, 3_000_000)],
)  # fmt: skip
def test_the_published_prototypes_arithmetic_is_not_repeated(size: int, padded: int) -> None:
    """It gave 1600 for 1300 bytes with a padding of 1000, 2998 for 1999 and 2002 for 2001."""
    assert padded_size("1MB", size) == padded


def test_no_padding_is_no_division_by_zero() -> None:
    assert padded_size("none", 1300) == 1300


@pytest.mark.parametrize("padding", sorted(SIZE_SETS))
def test_the_largest_pack_fits_into_the_largest_answer(padding: str) -> None:
    """Even if it does not compress at all (zstd then adds some bytes a block, and a header)."""
    worst = MAX_CONTENT_BYTES + MAX_CONTENT_BYTES // 1000 + 1000
    assert padded_size(padding, worst) <= MAX_ANSWER_BYTES


def test_few_members_up_to_the_largest_page() -> None:
    members = {padded_size("x2", size) for size in range(1, MAX_CONTENT_BYTES, FLOOR_BYTES)}
    assert len(members) <= 10


@given(st.floats(0, 1e6))
def test_an_answer_starts_at_a_power_of_two_seconds_and_not_before_it_is_ready(
    elapsed: float,
) -> None:
    start = start_time("x2", elapsed)
    assert start >= elapsed
    assert start == 1 or start / 2 < elapsed
    assert start in {2.0**k for k in range(21)}


@given(st.floats(0, 1e6))
def test_fixed_starts_are_few_and_the_first_holds_nearly_every_page(elapsed: float) -> None:
    start = start_time("fixed", elapsed)
    assert start >= elapsed
    assert start == 8 or start / 2 < elapsed
    assert start in {8 * 2.0**k for k in range(18)}


@given(st.floats(0, 1e6))
def test_without_a_start_set_it_starts_when_it_is_ready(elapsed: float) -> None:
    assert start_time("none", elapsed) == elapsed
