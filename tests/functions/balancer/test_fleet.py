"""What a fleet promises its visitors and its owner."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bento.functions.balancer.fleet import (
    ATTEMPTS,
    JOIN_SECONDS,
    PATIENCE,
    SILENCE,
    Action,
    Fleet,
    GiveUp,
    HandOver,
    Load,
    Options,
    Start,
    State,
    Stop,
)


def fleet(**options: object) -> Fleet:
    return Fleet(Options(**options), random.Random(1))  # type: ignore[arg-type]


def with_replicas(count: int, **options: object) -> Fleet:
    """`count` replicas, ready at time 0."""
    made = fleet(**{"least": count, "most": count, **options})
    assert made.tick(0) == [Start(number) for number in range(1, count + 1)]
    for number in range(1, count + 1):
        made.ready(number, 0)
    return made


def handed(actions: list[Action]) -> list[tuple[int, int]]:
    return [(a.visitor, a.replica) for a in actions if isinstance(a, HandOver)]


def test_the_first_visitor_waits_for_the_replica_that_is_started_for_it() -> None:
    service = fleet()
    assert service.arrived(7, 0) == [Start(1)]
    assert service.arrived(8, 1) == []
    assert handed(service.ready(1, 5)) == [(7, 1), (8, 1)]


def test_a_rush_starts_no_more_replicas_at_once_than_serve_already() -> None:
    """Before the first one has measured anything, nobody knows how many it takes."""
    service = fleet(most=20)
    starts = [0] * 4
    for n in range(100):
        starts[0] += service.arrived(n, 0).count(Start(1))
    for generation, numbers in enumerate(([1], [2], [3, 4]), 1):
        for number in numbers:
            actions = service.ready(number, generation)
            starts[generation] += sum(isinstance(action, Start) for action in actions)
    assert starts == [1, 1, 2, 4]


def test_visitors_go_to_the_emptiest_replica() -> None:
    service = with_replicas(3)
    order = [replica for n in range(6) for _, replica in handed(service.arrived(n, 0))]
    assert order == [1, 2, 3, 1, 2, 3]


def test_more_places_on_a_faster_uplink() -> None:
    """Four visitors of 450 KB/s fit into 1,800; eight into 3,600."""
    service = with_replicas(2)
    service.report(1, Load(0, 1, 450e3, 1800e3, sharing=1), 1)
    service.report(2, Load(0, 0, 0, 3600e3), 1)
    assert [replica.places for replica in service] == [4, 8]


def test_places_are_measured_by_what_visitors_take_alone_and_together() -> None:
    """One that takes 100 KB/s alone, and 300 KB/s that several share: three places, on others too."""
    service = with_replicas(2)
    for now, (rate, sharing) in enumerate([(20e3, 1), (100e3, 1), (200e3, 2), (300e3, 5)], 1):
        service.report(1, Load(5, 1, rate, sharing=sharing), now)
    assert [replica.places for replica in service] == [3, 3]


def test_a_replica_takes_one_visitor_until_it_was_seen_what_that_one_takes() -> None:
    """Another one waits so long, if it is to wait, and then has the second place."""
    service = with_replicas(1, wait=9.0)
    service.arrived(1, 0)
    service.joined(1, 1)
    assert handed(service.arrived(2, 1)) == []
    assert handed(service.report(1, Load(1, 1, 30e3, sharing=1), 1)) == []  # no whole second yet
    assert handed(service.report(1, Load(1, 1, 100e3, sharing=1), 2)) == [(2, 1)]


def test_replicas_are_started_for_those_who_will_come_meanwhile() -> None:
    """Visitors a second apart, and a start takes three: the second one is reason enough for another."""
    service = fleet(least=1, limit=3)
    assert service.tick(0) == [Start(1)]
    service.ready(1, 3)
    starts = [service.arrived(n, 10 + n).count(Start(2)) for n in range(3)]
    assert starts == [0, 1, 0]


def test_a_fixed_limit_replaces_the_measured_one() -> None:
    service = with_replicas(1, limit=2)
    service.report(1, Load(0, 1, 450e3, 1800e3, sharing=1), 1)
    assert [replica.places for replica in service] == [2]


def test_a_full_fleet_shares_or_queues_as_its_owner_says() -> None:
    sharing, queueing = with_replicas(1, limit=1), with_replicas(1, limit=1, wait=9.0)
    for service in (sharing, queueing):
        service.arrived(1, 0)
    assert handed(sharing.arrived(2, 0)) == [(2, 1)]
    assert handed(queueing.arrived(2, 0)) == []
    queueing.joined(1, 1)
    assert handed(queueing.report(1, Load(1, 0, 0), 1)) == [(2, 1)]  # the first one left
    assert handed(queueing.arrived(3, 1)) == []
    assert handed(queueing.tick(9)) == []
    assert handed(queueing.tick(10)) == [(3, 1)]  # for longer it does not wait


def test_a_replica_is_added_at_the_high_watermark_and_no_more_than_allowed() -> None:
    service = fleet(most=2, limit=2)
    assert service.arrived(1, 0) == [Start(1)]
    service.ready(1, 0)
    assert Start(2) in service.arrived(2, 0)
    service.ready(2, 0)
    actions = [action for n in range(3, 9) for action in service.arrived(n, 0)]
    assert len(handed(actions)) == 6
    assert not any(isinstance(action, Start) for action in actions)


def test_below_the_low_watermark_one_goes_once_its_last_stream_ended() -> None:
    service = fleet(most=2, limit=4, calm=20)
    for n in range(4):
        service.arrived(n, 0)
    service.ready(1, 0)
    service.ready(2, 0)
    for n in range(4):
        service.joined(n, 1)
    service.report(1, Load(4, 1, 0), 1)
    service.report(2, Load(0, 1, 0), 1)
    assert service.tick(1) == []
    service.report(1, Load(4, 1, 0), 20)
    service.report(2, Load(0, 1, 0), 20)
    assert service.tick(21) == []  # it drains, and its stream goes on
    assert [replica.state for replica in service].count(State.DRAINING) == 1
    draining = next(replica for replica in service if replica.state is State.DRAINING)
    assert handed(service.arrived(99, 21)) != [(99, draining.number)]
    service.report(draining.number, Load(draining.joined, 0, 0), 22)
    assert service.tick(22) == [Stop(draining.number)]


def test_draining_is_called_off_when_visitors_come_back() -> None:
    service = fleet(most=2, limit=2, calm=1)
    for number in (1, 2):
        service.arrived(number, 0)
    for number in (1, 2):
        service.ready(number, 0)
        service.joined(number, 1)
    service.report(1, Load(2, 1, 0), 1)
    service.tick(1)
    service.tick(2)
    assert [replica.state for replica in service] == [State.READY, State.DRAINING]
    service.arrived(3, 2)
    service.arrived(4, 2)
    assert [replica.state for replica in service] == [State.READY, State.READY]


def test_who_was_on_the_way_to_a_dead_replica_goes_to_another() -> None:
    service = with_replicas(2)
    service.arrived(1, 0)
    service.arrived(2, 0)
    service.joined(2, 2)
    assert handed(service.died(1, 1)) == [(1, 2)]
    assert handed(service.died(2, 1)) == []  # both gone: 1 waits, 2 had its stream there
    assert service.waiting == 1


def test_a_visitor_that_nobody_can_reach_is_given_up_at_last() -> None:
    service = with_replicas(1)
    actions = service.arrived(1, 0)
    for _ in range(ATTEMPTS - 1):
        assert handed(actions) == [(1, 1)]
        actions = service.failed(1, 1, 0)
    assert handed(actions) == [(1, 1)]
    assert GiveUp(1) in service.failed(1, 1, 0)


def test_nobody_waits_longer_than_a_client_does() -> None:
    service = fleet()
    service.arrived(1, 0)
    assert GiveUp(1) not in service.tick(PATIENCE)
    assert GiveUp(1) in service.tick(PATIENCE + 1)


def test_a_replica_that_falls_silent_is_replaced() -> None:
    service = with_replicas(1)
    service.arrived(1, 0)
    actions = service.tick(SILENCE + 1)
    assert Stop(1) in actions
    assert Start(2) in actions
    assert handed(service.ready(2, SILENCE + 2)) == [(1, 2)]


def test_a_word_that_never_comes_counts_as_a_failure() -> None:
    service = with_replicas(1)
    service.arrived(1, 0)
    service.report(1, Load(0, 0, 0), JOIN_SECONDS)
    assert handed(service.tick(JOIN_SECONDS + 1)) == [(1, 1)]


def test_starts_that_fail_are_tried_again_ever_more_slowly() -> None:
    service = fleet(least=1)
    starts = []
    for now in range(40):
        for action in service.tick(now):
            if isinstance(action, Start):
                starts.append(now)
                assert service.start_failed(action.replica, now) == []
    assert starts == [0, 1, 3, 7, 15, 31]


def test_replica_seconds_are_counted() -> None:
    service = with_replicas(2)
    assert service.replica_seconds(10) == 20
    service.died(1, 15)
    assert service.replica_seconds(20) == 15 + 20 + 5  # its successor was started at once


@pytest.mark.parametrize(
    "options",
    [
        {"least": 3, "most": 2},
        {"most": 0},
        {"low": 1.0, "high": 1.0},
        {"low": 0},
        {"way": "astrology"},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        fleet(**options)


def test_the_other_ways_to_pick() -> None:
    near = with_replicas(3, way="region", most=3, least=3)
    near.ready(2, 0, region="10.2")
    assert handed(near.arrived(1, 0, region="10.2")) == [(1, 2)]
    spread = with_replicas(2, way="random", limit=1000)
    chosen = [replica for n in range(200) for _, replica in handed(spread.arrived(n, 0))]
    assert 60 < chosen.count(1) < 140
    weighted = with_replicas(2, way="weight", limit=1000)
    weighted.report(1, Load(0, 0, 0, 9e6), 0)
    weighted.report(2, Load(0, 0, 0, 1e6), 0)
    chosen = [replica for n in range(200) for _, replica in handed(weighted.arrived(n, 0))]
    assert chosen.count(1) > 150


class Anything(RuleBasedStateMachine):
    """Whatever happens in whatever order, no visitor is lost, doubled or cut."""

    def __init__(self) -> None:
        super().__init__()
        self.options = Options(most=3, calm=2.0)
        self.fleet = Fleet(self.options, random.Random(0))
        self.now = 0.0
        self.visitors = 0
        self.where: dict[int, str | int] = {}  # "waiting", a replica, "joined", "given up"
        self.alive: dict[int, str] = {}  # "starting" or "ready"
        self.inside: dict[int, set[int]] = {}
        self.counted: dict[int, int] = {}

    def obey(self, actions: list[Action], dead: tuple[int, ...] = ()) -> None:
        for number in dead:
            self.alive.pop(number, None)
        for action in actions:
            if isinstance(action, HandOver):
                assert self.where[action.visitor] in ("waiting", *dead) or isinstance(
                    self.where[action.visitor], int
                )
                assert self.alive[action.replica] == "ready"
                self.where[action.visitor] = action.replica
            elif isinstance(action, GiveUp):
                assert self.where[action.visitor] != "joined"
                self.where[action.visitor] = "given up"
            elif isinstance(action, Start):
                self.alive[action.replica] = "starting"
                self.inside[action.replica] = set()
                self.counted[action.replica] = 0
            else:
                assert not self.inside.get(action.replica), "a visitor was cut"
                self.alive.pop(action.replica)

    @rule()
    def a_visitor_comes(self) -> None:
        self.visitors += 1
        self.where[self.visitors] = "waiting"
        self.obey(self.fleet.arrived(self.visitors, self.now))

    @precondition(lambda self: "starting" in self.alive.values())
    @rule(comes_up=st.booleans())
    def a_start_ends(self, comes_up: bool) -> None:
        number = next(n for n, state in self.alive.items() if state == "starting")
        if comes_up:
            self.alive[number] = "ready"
            self.obey(self.fleet.ready(number, self.now))
        else:
            self.obey(self.fleet.start_failed(number, self.now), (number,))

    @precondition(lambda self: any(isinstance(place, int) for place in self.where.values()))
    @rule(works=st.booleans())
    def a_visitor_is_joined_or_not(self, works: bool) -> None:
        visitor, replica = next((v, r) for v, r in self.where.items() if isinstance(r, int))
        if works:
            self.fleet.joined(visitor, replica)
            self.where[visitor] = "joined"
            self.inside[replica].add(visitor)
            self.counted[replica] += 1
        else:
            self.where[visitor] = "waiting"
            self.obey(self.fleet.failed(visitor, replica, self.now))

    @rule()
    def a_visitor_leaves(self) -> None:
        for inside in self.inside.values():
            if inside:
                inside.pop()
                return

    @precondition(lambda self: "ready" in self.alive.values())
    @rule(choice=st.randoms(use_true_random=False))
    def a_replica_dies(self, choice: random.Random) -> None:
        number = choice.choice([n for n, state in self.alive.items() if state == "ready"])
        self.inside[number].clear()
        for visitor, place in self.where.items():
            if place == number:
                self.where[visitor] = "waiting"
        self.obey(self.fleet.died(number, self.now), (number,))

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for number, state in tuple(self.alive.items()):
            if state == "ready" and number in self.alive:
                load = Load(self.counted[number], len(self.inside[number]), 1000.0)
                self.obey(self.fleet.report(number, load, self.now))
        for visitor, place in self.where.items():  # those the machine may take back by itself
            if isinstance(place, int) and place not in self.alive:
                self.where[visitor] = "waiting"
        self.obey(self.fleet.tick(self.now))

    @invariant()
    def within_the_allowance(self) -> None:
        assert len(self.alive) <= self.options.most
        assert {replica.number for replica in self.fleet} == set(self.alive)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """All that wait are known to wait; all that are on the way are known to be."""
        on_the_way = sum(len(replica.joining) for replica in self.fleet)
        undecided = [p for p in self.where.values() if p == "waiting" or isinstance(p, int)]
        assert self.fleet.waiting + on_the_way == len(undecided)


Anything.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnything = Anything.TestCase
