"""The ring: published indexes, the two slots of each moment, the right relays in order."""

from __future__ import annotations

import ipaddress

import pytest

from bento.onion import hsdir
from bento.onion.blinding import TimePeriod
from bento.onion.certs import RelayIdentity
from bento.onion.consensus import Consensus, Relay, SharedRandom
from bento.onion.hsdir import Slot

HOUR = 3600
CURRENT, PREVIOUS = b"\1" * 32, b"\2" * 32


def consensus(hour: float, interval: int = HOUR, **parameters: int) -> Consensus:
    start = int(hour * HOUR)
    shared = SharedRandom(CURRENT, PREVIOUS)
    return Consensus(start, start + interval, start + 3 * interval, parameters, shared, ())


def relay(number: int, flags: str = "HSDir", protocols: int = 2) -> Relay:
    identity = RelayIdentity(bytes([number]) * 20, bytes([number]) * 32)
    return Relay(
        f"r{number}",
        identity,
        bytes(32),
        ((ipaddress.ip_address("192.0.2.1"), 9001),),
        frozenset(flags.split()),
        {"HSDir": frozenset({protocols})},
        1,
    )


def test_published_indexes() -> None:
    period = TimePeriod(42, 1440)
    node = hsdir.node_index(b"\x42" * 32, Slot(period, b"\x43" * 32))
    assert node.hex() == "db475361014a09965e7e5e4d4a25b8f8d4b8f16cb1d8a7e95eed50249cc1a2d5"
    service = hsdir.service_index(b"\x42" * 32, 1, period)
    assert service.hex() == "37e5cbbd56a22823714f18f1623ece5983a0d64c78495a8cfab854245e5f9a8a"


def test_the_period_of_the_specification_example() -> None:
    """rend-spec-v3 2.2.1: 2016-04-13 11:00 is in period 16903, noon begins 16904."""
    assert hsdir.period_at(consensus(1460545200 / HOUR)) == TimePeriod(16903, 1440)
    assert hsdir.period_at(consensus(1460548800 / HOUR)).number == 16904


@pytest.mark.parametrize(
    ("hour", "first", "second"),
    [(0, -1, 0), (11, -1, 0), (12, -1, 0), (23, -1, 0), (24, 0, 1), (36, 0, 1)],
)
def test_two_periods_are_served_each_with_its_random_value(hour, first, second) -> None:
    day = 20_000 * 24
    base = hsdir.period_at(consensus(day + 12)).number
    one, two = hsdir.slots(consensus(day + hour))
    assert (one.period.number - base, two.period.number - base) == (first, second)
    assert (one.random, two.random) == (PREVIOUS, CURRENT)


def test_a_testing_network_turns_its_periods_with_its_votes() -> None:
    assert hsdir.period_minutes(consensus(0, interval=20)) == 8
    assert hsdir.period_minutes(consensus(0, interval=HOUR, hsdir_interval=60)) == 60
    assert hsdir.period_minutes(consensus(0, interval=HOUR, hsdir_interval=1)) == 30


def test_without_a_random_value_all_agree_on_another() -> None:
    start = 20_000 * 24 * HOUR
    bare = Consensus(start, start + HOUR, start + HOUR, {}, SharedRandom(None, None), ())
    one, two = hsdir.slots(bare)
    assert one.random != two.random
    assert hsdir.slots(bare) == (one, two)


def test_descriptors_go_to_the_next_relays_of_each_replica() -> None:
    relays = [relay(n) for n in range(1, 40)]
    slot = Slot(TimePeriod(42, 1440), CURRENT)
    chosen = hsdir.responsible(relays, b"\5" * 32, slot, {})
    assert len({r.nickname for r in chosen}) == 8
    ring = sorted(relays, key=lambda r: hsdir.node_index(r.identity.ed25519, slot))
    for replica, part in ((1, chosen[:4]), (2, chosen[4:])):
        place = hsdir.service_index(b"\5" * 32, replica, slot.period)
        after = [r for r in ring if hsdir.node_index(r.identity.ed25519, slot) > place]
        before = [r for r in ring if r not in after]
        skipped = [] if replica == 1 else chosen[:4]
        assert part == [r for r in after + before if r not in skipped][:4]


def test_only_directories_of_the_right_protocol_store_descriptors() -> None:
    relays = [relay(1), relay(2, flags="Fast"), relay(3, protocols=1)]
    slot = Slot(TimePeriod(1, 1440), CURRENT)
    assert hsdir.responsible(relays, b"\5" * 32, slot, {}) == [relays[0]]


def test_consensus_parameters_change_number_and_spread() -> None:
    relays = [relay(n) for n in range(1, 60)]
    slot = Slot(TimePeriod(1, 1440), CURRENT)
    parameters = {"hsdir_n_replicas": 3, "hsdir_spread_store": 5}
    assert len(hsdir.responsible(relays, b"\5" * 32, slot, parameters)) == 15
