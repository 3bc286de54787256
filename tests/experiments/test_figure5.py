"""The measures of the figure-5 experiment, by hand-made cases."""

from __future__ import annotations

import pytest
from experiments.balancer.measures import (
    Download,
    first_byte,
    fluid_optimum,
    jain,
    throughput,
)


def test_jains_index_of_known_cases():
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("arrivals", "servers", "expected"),
    [
        ([0.0], 4, [10.0]),
        ([0.0, 0.0], 1, [20.0, 20.0]),
        ([0.0, 0.0], 2, [10.0, 10.0]),
        ([0.0, 5.0], 1, [15.0, 15.0]),
        ([0.0, 20.0], 1, [10.0, 10.0]),
    ],
)
def test_the_fluid_shares_what_there_is(arrivals, servers, expected):
    assert fluid_optimum(arrivals, 1000.0, servers, 100.0) == pytest.approx(expected)


def test_thirteen_clients_on_one_server_take_as_long_as_all_bytes_do():
    times = fluid_optimum([float(n) for n in range(13)], 1e6, 1, 1e5)
    assert max(n + t for n, t in enumerate(times)) == pytest.approx(130.0)


def test_what_one_server_gave_is_counted_from_its_first_byte_on():
    early = Download(0, 1.0, 12.0, ((2.5, 10), (12.0, 500)))
    late = Download(1, 2.0, 22.5, ((8.0, 10), (22.5, 500)))
    assert first_byte([late, early]) == 1.5
    assert throughput([late, early]) == pytest.approx(1000 / 20)


def test_speeds_add_up_to_what_was_downloaded():
    curve = tuple((float(at), 100 * at) for at in range(1, 9))
    download = Download(0, 0.0, 8.0, curve)
    assert sum(speed * 2.0 for _, speed in download.speeds()) == pytest.approx(800)
    assert download.seconds == 8.0
