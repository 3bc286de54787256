"""Which boxes keep a file's shards: no two that fail, or are seized, together. Pure.

Two boxes are kin when they share what a rule names:

    family     one names the other as its relay's family
    network    the first 16 bits of their IPv4 addresses (32 of IPv6)
    operator   the ContactInfo of their relays, the words of Bento left out

Addresses of one machine (127.0.0.0/8) are each a network of their own: nothing there is diverse, and
it is a private network's only choice.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable, Sequence

from bento.errors import BoxError
from bento.tor.discovery import RelayEntry

_TRIES = 16  # a first choice may stand in the way of others

Random = Callable[[int], int]  # a whole number below its argument


def _same_family(one: RelayEntry, other: RelayEntry) -> bool:
    return one.fingerprint in other.family or other.fingerprint in one.family


def _same_network(one: RelayEntry, other: RelayEntry) -> bool:
    return _network(one.address) == _network(other.address)


def _network(text: str) -> tuple[int, int]:
    """(IP version, the bits that name the network)."""
    address = ipaddress.ip_address(text)
    if address.is_loopback:
        return address.version, int(address) << 1 | 1  # as no other network's number
    kept = 16 if address.version == 4 else 32
    return address.version, int(address) >> (address.max_prefixlen - kept) << 1


def _same_operator(one: RelayEntry, other: RelayEntry) -> bool:
    return bool(one.operator) and one.operator == other.operator


RULES: dict[str, Callable[[RelayEntry, RelayEntry], bool]] = {
    "family": _same_family,
    "network": _same_network,
    "operator": _same_operator,
}
"""Name of a rule -> whether two boxes are kin by it. The order is that of the bits in a ticket."""


def kin(one: RelayEntry, other: RelayEntry, rules: Sequence[str]) -> bool:
    """Whether one file's shards must not be on both."""
    return one.fingerprint == other.fingerprint or any(RULES[rule](one, other) for rule in rules)


def choose(
    entries: Sequence[RelayEntry],
    count: int,
    rules: Sequence[str],
    taken: Sequence[RelayEntry] = (),
    random: Random = secrets.randbelow,
) -> list[RelayEntry]:
    """`count` boxes at random, none of them kin to another or to one of those `taken`.

    Raises BoxError when there are not so many."""
    best: list[RelayEntry] = []
    for _ in range(_TRIES):
        chosen: list[RelayEntry] = []
        left = list(entries)
        while left and len(chosen) < count:
            entry = left.pop(random(len(left)))
            if not any(kin(entry, other, rules) for other in (*taken, *chosen)):
                chosen.append(entry)
        if len(chosen) == count:
            return chosen
        best = max(best, chosen, key=len)
    raise BoxError(
        f"{count} unrelated boxes are needed and {len(best)} were found",
        "use fewer shards, or --diversity with fewer rules",
    )
