"""The simulation of LoadBalancer at the size of the public network: its parts, and small cases that can be
worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from experiments.scale.fluid import fair_rates
from experiments.scale.population import Population, distance, read_consensus, synthetic
from experiments.scale.visits import Plan, simulate
from hypothesis import given, settings
from hypothesis import strategies as st

from bento.functions.balancer.fleet import Options


def rates(capacity: list[float], paths: list[list[int]], cap: float = np.inf) -> list[float]:
    return fair_rates(np.array(capacity), np.array(paths), np.full(len(paths), cap)).tolist()


def test_equal_shares_of_one_bottleneck() -> None:
    assert rates([9.0, 100.0], [[0, 1], [0, 1], [0, 1]]) == [3.0, 3.0, 3.0]


def test_what_one_flow_cannot_use_is_for_the_others() -> None:
    """The textbook case: two flows meet at 10, one of them is held to 2 elsewhere."""
    assert rates([10.0, 2.0, 50.0], [[0, 1], [0, 2]]) == [2.0, 8.0]
    assert rates([10.0, 10.0], [[0, 1], [0, 1]], cap=3.0) == [3.0, 3.0]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(2, 12), st.integers(0, 1000))
def test_rates_are_max_min_fair(flows: int, resources: int, seed: int) -> None:
    """Nothing is overfull, and each flow is at its cap or has a full resource where nobody gets more."""
    rng = np.random.default_rng(seed)
    capacity, caps = rng.uniform(1, 100, resources), rng.uniform(1, 40, flows)
    paths = np.array([rng.choice(resources, 2, replace=False) for _ in range(flows)])
    found = fair_rates(capacity, paths, caps)
    used = np.bincount(paths.ravel(), np.repeat(found, 2), minlength=resources)
    assert (used <= capacity * (1 + 1e-6)).all()
    for flow in range(flows):
        full = [r for r in paths[flow] if used[r] >= capacity[r] * (1 - 1e-6)]
        most = [found[(paths == r).any(axis=1)].max() <= found[flow] * (1 + 1e-6) for r in full]
        assert found[flow] >= caps[flow] * (1 - 1e-6) or any(most)


def test_the_made_population_has_the_public_networks_shape() -> None:
    """Against figures of the whole consensus of 2022-11-19, which the shape was not made from directly."""
    made = synthetic(np.random.default_rng(3))
    assert len(made) == 6088
    assert made.guard.sum() == 3020
    assert made.exit.sum() == 1428
    quantiles = np.quantile(made.weight, [0.25, 0.5, 0.75, 0.95])
    assert quantiles == pytest.approx([1500, 8600, 21000, 57000], rel=0.1)
    assert made.weight[made.guard].sum() / made.weight.sum() == pytest.approx(0.58, abs=0.02)
    assert made.weight[made.exit].sum() / made.weight.sum() == pytest.approx(0.30, abs=0.02)
    assert made.weight.sum() == pytest.approx(94e6, rel=0.05)


def test_a_distance_tells_populations_apart() -> None:
    rng = np.random.default_rng(4)
    one, other = synthetic(rng), synthetic(rng)
    slow = Population(one.weight / 3, one.guard, one.exit)
    assert distance(one, other) < 0.02 < 0.2 < distance(one, slow)


def test_a_consensus_is_read_with_its_flags(tmp_path: Path) -> None:
    path = tmp_path / "cached-consensus"
    path.write_text(
        "network-status-version 3\n"
        "r one AAAA BBBB 2026-01-01 00:00:00 127.0.0.1 9001 0\n"
        "s Exit Fast Guard Running Valid\nv Tor 0.4.9\nw Bandwidth=700\np accept 80\n"
        "r two AAAA BBBB 2026-01-01 00:00:00 127.0.0.2 9001 0\n"
        "s Fast Running Valid\nw Bandwidth=50 Unmeasured=1\n"
        "r down AAAA BBBB 2026-01-01 00:00:00 127.0.0.3 9001 0\ns Valid\nw Bandwidth=9\n"
    )
    found = read_consensus(path)
    assert found.weight.tolist() == [700, 50]
    assert found.guard.tolist() == found.exit.tolist() == [True, False]
    path.write_text("nothing of the kind")
    with pytest.raises(ValueError, match="is it a consensus"):
        read_consensus(path)


def test_a_network_in_which_every_relay_is_an_exit_can_be_simulated_too() -> None:
    """A private network's consensus says so of all its relays."""
    everything = np.ones(4, dtype=np.bool_)
    small = Population(np.full(4, 1e4), everything, everything)
    assert simulate(Plan(3), Options(), small).completion.max() < 60


@pytest.fixture(scope="module")
def network() -> Population:
    return synthetic(np.random.default_rng(5), 500)


def test_one_visitor_gets_the_rate_of_one_circuit(network: Population) -> None:
    plan = Plan(1, size=4.5e6, start=2.0, handshake=0.5, free=100.0, step=0.1)
    outcome = simulate(plan, Options(), network)
    assert outcome.completion[0] == pytest.approx(outcome.first_byte[0] + 10.0, abs=0.2)
    assert outcome.first_byte[0] >= 2.0  # it waited for the replica


def test_a_single_server_is_bound_by_its_uplink(network: Population) -> None:
    """13 visitors, a second apart, 10 MB each over 1.8 MB/s: 72 s in all, whatever the order."""
    plan = Plan(13, size=10e6, spacing=1.0, uplink=1.8e6, start=0.0, free=100.0, step=0.1)
    outcome = simulate(plan, Options(most=1), network)
    assert (outcome.completion + np.arange(13)).max() == pytest.approx(74, rel=0.05)


def test_four_replicas_beat_one_and_cost_more(network: Population) -> None:
    plan = Plan(13, size=10e6, spacing=1.0, uplink=1.8e6, start=1.0, free=100.0, step=0.1)
    one, four = (simulate(plan, Options(most=most), network) for most in (1, 4))
    assert four.replicas == 4
    assert four.completion.mean() < one.completion.mean() / 2
    assert one.replica_seconds < four.replica_seconds < 4 * one.replica_seconds
