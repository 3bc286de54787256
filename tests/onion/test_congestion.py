"""Vegas: grows on an empty path, backs off from a queue, and matches C-tor's published cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import RemoteProtocolError
from bento.onion.congestion import PathKind, Vegas, VegasParams
from bento.onion.pacing import Pace

EXIT = VegasParams.from_consensus({}, PathKind.EXIT)


class Path:
    """A path that carries `rate` cells a second with `base` seconds there and back."""

    def __init__(self, vegas: Vegas, base: float, rate: float) -> None:
        self.vegas, self.base, self.rate = vegas, base, rate
        self.now, self.free_at, self.sent = 0.0, 0.0, 0
        self.acks: list[float] = []

    def run(self, acks: int) -> None:
        for _ in range(acks):
            while self.vegas.room:
                self.vegas.sent(1)
                self.sent += 1
                self.free_at = max(self.free_at, self.now) + 1 / self.rate
                if self.sent % self.vegas.increment == 0:
                    self.vegas.checkpoint(self.now)
                    self.acks.append(self.free_at + self.base)
            self.now = max(self.now, self.acks.pop(0))
            self.vegas.acknowledged(self.now)


def test_the_window_finds_the_capacity_of_the_path() -> None:
    vegas = Vegas(EXIT, 31)
    path = Path(vegas, base=0.2, rate=5000.0)
    path.run(600)
    capacity = 0.2 * 5000
    assert not vegas.in_slow_start
    assert capacity * 0.9 < vegas.cwnd < capacity + EXIT.delta + 31


def test_a_faster_path_gives_a_larger_window() -> None:
    windows = []
    for rate in (500.0, 5000.0, 20000.0):
        vegas = Vegas(EXIT, 31)
        Path(vegas, 0.2, rate).run(900)
        windows.append(vegas.cwnd)
    assert windows == sorted(windows)
    assert windows[0] < windows[1] / 3


def test_slow_start_doubles_each_round_trip_on_an_empty_path() -> None:
    vegas = Vegas(EXIT, 31)
    path = Path(vegas, 0.1, 1e7)
    path.run(4)
    assert vegas.cwnd == 124 + 4 * 31
    path.run(8)
    assert vegas.cwnd == 496


def test_a_queue_beyond_gamma_ends_slow_start_at_once() -> None:
    vegas = Vegas(EXIT, 31)
    vegas.cwnd = 500
    for rtt in (0.1, 0.1, 0.4):
        vegas.sent(31)
        vegas.checkpoint(0.0)
        vegas.inflight = 500
        vegas.acknowledged(rtt)
    assert not vegas.in_slow_start
    assert vegas.cwnd < 500


def test_a_blocked_link_is_a_signal() -> None:
    vegas = Vegas(EXIT, 31)
    Path(vegas, 0.2, 5000.0).run(300)
    before = vegas.cwnd
    vegas.sent(31)
    vegas.checkpoint(1000.0)
    vegas.acknowledged(1000.2, blocked=True)
    assert vegas.cwnd < before


def test_an_idle_sender_does_not_grow() -> None:
    vegas = Vegas(EXIT, 31)
    for step in range(100):
        vegas.sent(31)
        vegas.checkpoint(step * 1.0)
        vegas.acknowledged(step + 0.1)
    assert vegas.cwnd <= 124 + 31
    assert vegas.inflight == 0


@given(
    st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.integers(0, 3)), max_size=200),
    st.sampled_from(list(PathKind)),
    st.dictionaries(
        st.sampled_from(["cc_cwnd_min", "cc_cwnd_init", "cc_vegas_beta_exit", "cc_sscap_exit"]),
        st.integers(-10, 10**6),
    ),
)
def test_no_clock_and_no_consensus_make_the_window_senseless(script, path, consensus) -> None:
    params = VegasParams.from_consensus(consensus, path)
    vegas = Vegas(params, 31)
    now = 0.0
    for delay, blocked, rounds in script:
        for _ in range(rounds):
            if vegas.room >= 31:
                vegas.sent(31)
                vegas.checkpoint(now)
        now += delay
        if vegas._checkpoints:
            vegas.acknowledged(now, blocked=blocked)
        assert min(params.cwnd_min, params.cwnd_init, params.gamma) <= vegas.cwnd <= params.cwnd_max
        assert vegas.inflight >= 0
        assert vegas.room >= 0


def test_an_acknowledgement_of_nothing_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="not sent"):
        Vegas(EXIT, 31).acknowledged(1.0)


def test_a_stalled_clock_changes_nothing() -> None:
    vegas = Vegas(EXIT, 31)
    vegas.sent(124)
    for _ in range(4):
        vegas.checkpoint(5.0)
    vegas.acknowledged(5.0)
    assert (vegas.cwnd, vegas.smoothed_rtt, vegas.inflight) == (124, 0, 93)


def test_defaults_and_ranges_are_those_of_the_network() -> None:
    onion = VegasParams.from_consensus({"cc_vegas_alpha_onion": 5000}, PathKind.ONION)
    assert (onion.alpha, onion.beta, onion.gamma, onion.delta) == (1000, 434, 310, 558)
    assert (EXIT.alpha, EXIT.beta, EXIT.gamma, EXIT.delta, EXIT.sscap) == (124, 248, 186, 372, 500)
    assert [n for n in range(256) if EXIT.accepts_increment(n)] == list(range(15, 63))


def test_an_advised_rate_is_kept() -> None:
    pace = Pace()
    assert pace.allowed(0.0) > 1e12
    pace.set_rate(10, 1.0)
    assert pace.allowed(1.0) == 10_000
    pace.spend(10_000)
    assert pace.wait(498) == pytest.approx(0.0498)
    assert pace.allowed(1.5) == 5000
    assert pace.allowed(9.0) == 10_000
    pace.set_rate(0, 9.0)
    assert pace.wait(10**9) == 0.0
