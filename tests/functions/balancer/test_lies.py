"""What a replica that lies, or is broken, can do to the others' visitors and to the owner's purse."""

from __future__ import annotations

import random

import pytest

from bento.errors import RemoteProtocolError
from bento.functions.balancer.fleet import (
    DRAINING_SECONDS,
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
from bento.functions.balancer.messages import MAX_RATE, TO_FRONT, Frames, Report, encode

LIAR = 1


def fleet(count: int, **options: object) -> Fleet:
    """`count` replicas that are ready, and room for no more."""
    made = Fleet(Options(**{"least": count, "most": count, **options}), random.Random(1))  # type: ignore[arg-type]
    made.tick(0)
    for number in range(1, count + 1):
        made.ready(number, 0)
    return made


def replica(service: Fleet, number: int = LIAR):
    return next(each for each in service if each.number == number)


def went(actions: list[Action]) -> list[int]:
    return [action.replica for action in actions if isinstance(action, HandOver)]


@pytest.mark.parametrize(
    "load",
    [
        Load(joined=1, active=2, rate=0),
        Load(joined=1, active=1, rate=0, lingering=1),
        Load(joined=1, active=1, rate=0, sharing=2),
        Load(joined=1, active=1, rate=MAX_RATE + 1),
        Load(joined=1, active=1, rate=0, uplink=MAX_RATE + 1),
    ],
)
def test_a_load_that_cannot_be_ends_the_replica(load):
    with pytest.raises(RemoteProtocolError, match="cannot be"):
        Frames(TO_FRONT).feed(encode(Report(load)))


def test_one_that_says_it_is_always_empty_draws_three_of_four_visitors_at_most():
    """Others are served elsewhere, whatever the fleet's size."""
    for count in (2, 4, 10):
        service = fleet(count, limit=2)
        drawn = 0
        for visitor in range(1000):
            (chosen,) = went(service.arrived(visitor, visitor))
            service.joined(visitor, chosen)
            drawn += chosen == LIAR
            for number in range(1, count + 1):
                joined = replica(service, number).joined
                active = 0 if number == LIAR else min(joined, 50)
                service.report(number, Load(joined, active, 0), visitor)
        assert drawn < 780


def test_one_that_says_it_is_always_full_has_no_more_visitors_than_it_was_given():
    service = fleet(2, limit=2)
    service.report(LIAR, Load(10**6, 10**6, 0), 1)
    assert replica(service).busy == 0
    (chosen,) = went(service.arrived(1, 1))
    service.joined(1, chosen)
    service.report(LIAR, Load(10**6, 10**6, 0), 2)
    assert replica(service).busy <= 1


def test_one_that_claims_a_huge_uplink_counts_as_four_at_most():
    service = fleet(3)
    for number in (1, 2, 3):
        claimed = MAX_RATE if number == LIAR else 1e6
        service.report(number, Load(9, 1, 5e5, claimed, sharing=1), 1)
    assert [each.places for each in service] == [8, 2, 2]


def test_one_that_claims_huge_visitors_moves_nobody_elses_places():
    service = fleet(3)
    for number in (1, 2, 3):
        service.report(number, Load(9, 1, MAX_RATE if number == LIAR else 5e5, 1e6, sharing=1), 1)
    assert [each.places for each in service] == [2, 2, 2]


def test_one_that_never_drains_is_told_to_go_after_an_hour():
    service = Fleet(Options(least=1, most=2, limit=1, calm=1), random.Random(1))
    service.tick(0)
    service.ready(1, 0)
    service.arrived(1, 0)
    service.arrived(2, 0)
    service.ready(2, 0)
    for visitor in (1, 2):
        service.joined(visitor, 1)
    actions: list[Action] = []
    now = 0
    while not actions and now < 2 * DRAINING_SECONDS:
        now += 1
        for each in service:  # 2, the younger, goes, and says always that somebody lingers
            service.report(each.number, Load(2, 0, 0, lingering=each.number - 1), now)
        actions = service.tick(now)
    assert actions == [Stop(2)]
    assert DRAINING_SECONDS < now < DRAINING_SECONDS + 10


def test_a_visitor_whom_one_did_not_reach_goes_to_another_though_it_is_fuller():
    service = fleet(2, limit=8)
    replica(service, 2).joined = 3
    service.report(2, Load(3, 3, 0), 0)
    assert went(service.arrived(1, 0)) == [LIAR]
    assert went(service.failed(1, LIAR, 0)) == [2]


def test_one_that_reaches_nobody_fills_up_by_it():
    service = fleet(2, limit=8)
    for visitor in range(20):
        actions = service.arrived(visitor, visitor)
        if went(actions) == [LIAR]:
            actions = service.failed(visitor, LIAR, visitor)
        service.joined(visitor, 2)
        service.report(2, Load(visitor + 1, 2, 0), visitor)
    assert 0 < replica(service).missed < 5  # then the other one has more room


def test_one_that_reaches_nobody_any_more_is_no_reason_to_give_a_visitor_up():
    service = fleet(4)
    actions = service.arrived(1, 0)
    tried = []
    while tried != [1, 2, 3]:
        (number,) = went(actions)
        tried.append(number)
        actions = service.failed(1, number, 0)
    assert GiveUp(1) in actions


def test_its_words_start_no_more_machines_than_the_owner_allows():
    service = Fleet(Options(least=1, most=3), random.Random(1))
    started = [*service.tick(0)]
    service.ready(1, 0)
    for now in range(1, 100):
        number = now % 3 + 1
        actions = service.report(number, Load(4_000_000, 4_000_000, MAX_RATE, 1), now)
        started += [*actions, *service.arrived(now, now)]
        service.ready(now % 3 + 1, now)
    assert sum(isinstance(action, Start) for action in started) <= 3
    assert all(each.state is State.READY for each in service)
