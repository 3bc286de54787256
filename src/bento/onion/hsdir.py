"""Where the descriptors of an onion service go: time periods and the hash ring (rend-spec-v3 2.2).

A service publishes two descriptors at any time, so that a client finds one whether it already has
the new consensus or not. All times come from the consensus, as clients take them from there.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bento.onion.blinding import TimePeriod
from bento.onion.consensus import Consensus, Relay
from bento.onion.crypto import sha3, uint64

_LIVE_VOTING_SECONDS = 3600
_ROUNDS, _PHASES = 12, 2  # of the shared random protocol; srv-spec
_INTERVAL = ("hsdir_interval", 1440, 30, 14400)  # minutes
_REPLICAS = ("hsdir_n_replicas", 2, 1, 16)
_SPREAD = ("hsdir_spread_store", 4, 1, 128)


@dataclass(frozen=True, slots=True)
class Slot:
    """One of the two descriptors: its time period, and the random value of its ring."""

    period: TimePeriod
    random: bytes


def period_minutes(consensus: Consensus) -> int:
    """The length of a time period.

    A network that votes more often than hourly is a testing network, where C-tor takes one run of
    the shared random protocol (24 votes) in place of the parameter.
    """
    if consensus.voting_interval < _LIVE_VOTING_SECONDS:
        return max(_ROUNDS * _PHASES * consensus.voting_interval // 60, 1)
    return _parameter(consensus.parameters, _INTERVAL)


def period_at(consensus: Consensus) -> TimePeriod:
    """The time period the consensus is in; periods turn half a random protocol run late."""
    minutes = period_minutes(consensus)
    offset = _ROUNDS * consensus.voting_interval // 60
    return TimePeriod((consensus.valid_after // 60 - offset) // minutes, minutes)


def slots(consensus: Consensus) -> tuple[Slot, Slot]:
    """What to publish now: with the previous, and with the current random value.

    random value:   |--------- A ---------|--------- B ---------|
    time period:    ----- 1 ---|---------- 2 ---------|----- 3 --
    published:      1,prev 2,A | 1,prev 2,A | 2,A 3,B | 2,A 3,B
    """
    now = period_at(consensus)
    run = _ROUNDS * _PHASES * consensus.voting_interval
    fresh_random = consensus.valid_after % run < _ROUNDS * consensus.voting_interval
    first = now.number if fresh_random else now.number - 1
    shared = consensus.shared_random
    rows = ((first, shared.previous), (first + 1, shared.current))
    one, two = (_slot(TimePeriod(number, now.minutes), value) for number, value in rows)
    return one, two


def current_slot(consensus: Consensus) -> Slot:
    """The one of the two that clients look for now."""
    now = period_at(consensus)
    return next(slot for slot in slots(consensus) if slot.period == now)


def _slot(period: TimePeriod, value: bytes | None) -> Slot:
    """Without a random value the network falls back to a known one (rend-spec-v3 2.2.4)."""
    disaster = sha3(b"shared-random-disaster", uint64(period.minutes), uint64(period.number))
    return Slot(period, value or disaster)


def node_index(identity: bytes, slot: Slot) -> bytes:
    """The place of a relay on the ring."""
    period = uint64(slot.period.number) + uint64(slot.period.minutes)
    return sha3(b"node-idx", identity, slot.random, period)


def service_index(blinded: bytes, replica: int, period: TimePeriod) -> bytes:
    """The place of a descriptor on the ring."""
    return sha3(
        b"store-at-idx", blinded, uint64(replica), uint64(period.minutes), uint64(period.number)
    )


def responsible(
    relays: Sequence[Relay], blinded: bytes, slot: Slot, parameters: Mapping[str, int]
) -> list[Relay]:
    """The HSDirs that store this descriptor: for each replica the next relays on the ring."""
    ring = sorted(
        ((node_index(r.identity.ed25519, slot), r) for r in relays if _serves(r)),
        key=lambda row: row[0],
    )
    places = [place for place, _ in ring]
    chosen: list[Relay] = []
    for replica in range(1, _parameter(parameters, _REPLICAS) + 1):
        wanted = _parameter(parameters, _SPREAD)
        start = bisect.bisect_right(places, service_index(blinded, replica, slot.period))
        for step in range(len(ring)):
            relay = ring[(start + step) % len(ring)][1]
            if relay not in chosen:
                chosen.append(relay)
                wanted -= 1
            if not wanted:
                break
    return chosen


def _serves(relay: Relay) -> bool:
    return "HSDir" in relay.flags and 2 in relay.protocols.get("HSDir", ())


def _parameter(parameters: Mapping[str, int], rule: tuple[str, int, int, int]) -> int:
    name, default, least, most = rule
    return min(max(parameters.get(name, default), least), most)
