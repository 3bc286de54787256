"""The observer of R13 himself: he sees what is there to be seen, and nothing where there is nothing."""

import numpy as np
import pytest
from tests.functions.cover import observer

SLOT = 0.01
BLOCKS = 24


def cells(rng, late_when_active):
    """One direction: a cell in each slot, with some lateness, and more in active blocks; (times, blocks)."""
    blocks = [(float(number), bool((number + number // 2) % 2)) for number in range(BLOCKS)]
    slots = np.arange(0, BLOCKS, SLOT)
    active = np.array([blocks[int(slot)][1] for slot in slots])
    late = rng.exponential(0.001, len(slots)) + active * rng.choice(
        (0, late_when_active), len(slots)
    )
    return np.sort(slots + late), [*blocks, (float(BLOCKS), False)]


def judged(seed, late_when_active):
    rng = np.random.default_rng(seed)
    up, blocks = cells(rng, late_when_active)
    down, _ = cells(rng, 0)
    found = observer.windows({1: up, -1: down}, blocks, SLOT, 0.1, 0.2)
    return observer.judge(*found, trees=20, rounds=200)


def test_lateness_of_a_quarter_slot_is_seen():
    verdict = judged(1, 0.0025)
    assert verdict.low > 0.7 and verdict.chance < 0.01


def test_nothing_is_seen_where_there_is_nothing():
    verdict = judged(2, 0.0)
    assert verdict.low < 0.55 and verdict.chance > 0.01
    assert verdict.low <= verdict.auc <= verdict.high


def test_controls_find_nothing_though_active_blocks_are_told_apart():
    rng = np.random.default_rng(1)
    up, blocks = cells(rng, 0.0025)
    seen = observer.windows({1: up, -1: cells(rng, 0)[0]}, blocks, SLOT, 0.1, 0.2)
    alike = observer.judge(*observer.idle_alone(*seen), trees=20, rounds=200)
    assert alike.low < 0.55
    mean, spread = observer.by_chance(*seen, draws=4)
    assert abs(mean - 0.5) < 0.15 and spread < 0.2


def test_cells_of_the_busiest_connection_are_read(tmp_path):
    path = tmp_path / "notes"
    path.write_text("0 1000000000 1 1\n1 2000000000 1 2\n1 3000000000 -1 1\n1 4000000000 -1 1\n")
    read = observer.read(path)
    assert list(read[1]) == [2, 2] and list(read[-1]) == [3, 4]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_cells_in_a_window_are_no_fault(count):
    assert len(observer.describe(np.arange(count) * SLOT, np.zeros(count), 0, 1)) == 5 + 2 * len(
        observer.PERCENTILES
    )
