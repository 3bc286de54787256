"""Merged descriptors: every instance has its share of the points, and one that is gone has none."""

from __future__ import annotations

import pytest
from nacl.signing import SigningKey

from bento.errors import UsageError
from bento.functions.balancer.merging import MAX_INSTANCES, MISSES, Merger, addresses_of
from bento.onion.blinding import address_of
from bento.onion.descriptor import MAX_INTRODUCTION_POINTS, PublishedPoint
from bento.onion.descriptor_reader import Descriptor


def address(number: int) -> str:
    return address_of(bytes(SigningKey(bytes([number]) * 32).verify_key))


def found(name: int, points: int = 3, pace: int | None = 31, single: bool = False) -> Descriptor:
    """`points` introduction points that say whose they are."""
    made = (PublishedPoint(name, number, b"") for number in range(points))  # type: ignore[arg-type]
    return Descriptor(1, tuple(made), pace, single)


def merged(*descriptors: Descriptor) -> Merger:
    merger = Merger([address(n) for n in range(len(descriptors))])
    for number, descriptor in enumerate(descriptors):
        merger.learned(address(number), descriptor)
    return merger


def owners(merger: Merger) -> list[int]:
    return [point.relay for point in merger.plan().points]  # type: ignore[misc]


def test_all_points_of_a_few_instances_are_published():
    assert sorted(owners(merged(found(1), found(2), found(3, 2)))) == [1, 1, 1, 2, 2, 2, 3, 3]


def test_of_many_instances_each_has_two_points_and_no_descriptor_is_too_large():
    of = owners(merged(*(found(n, 5) for n in range(MAX_INSTANCES))))
    assert len(of) == MAX_INTRODUCTION_POINTS
    assert {of.count(n) for n in range(MAX_INSTANCES)} == {2}


def test_an_instance_that_is_not_found_is_left_out_and_comes_back():
    merger = merged(found(1), found(2))
    for _ in range(MISSES - 1):
        merger.missed(address(0))
    assert set(owners(merger)) == {1, 2}
    merger.missed(address(0))
    assert set(owners(merger)) == {2}
    merger.learned(address(0), found(1))
    assert set(owners(merger)) == {1, 2}


def test_nothing_is_published_before_every_instance_was_found_or_given_up():
    merger = Merger([address(0), address(1)])
    merger.learned(address(0), found(1))
    for _ in range(MISSES):
        assert not merger.settled
        merger.missed(address(1))
    assert merger.settled


def test_congestion_control_is_promised_only_where_all_do_it_alike():
    assert merged(found(1), found(2)).plan().sendme_increment == 31
    assert merged(found(1), found(2, pace=None)).plan().sendme_increment is None
    assert merged(found(1), found(2, pace=50)).plan().sendme_increment is None


def test_without_instances_there_is_nothing_to_publish():
    merger = Merger([address(1)])
    assert merger.plan().points == ()
    merger.passed(5.0)
    assert merger.instances[address(1)].seconds == 0


def test_addresses_are_checked_before_anything_is_done():
    assert addresses_of([f"{address(1).upper()}.onion"]) == (address(1),)
    for words in (
        [],
        ["example.onion"],
        [address(1), address(1)],
        [address(n) for n in range(MAX_INSTANCES + 1)],
    ):
        with pytest.raises(UsageError):
            addresses_of(words)
