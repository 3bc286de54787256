"""What we know of the network, asked from a C-tor beside us through its control port.

C-tor fetches and verifies the consensus, keeps microdescriptors, and chooses guards; we only ask.
Anything with `get_info` will do (`bento.tor.Controller` has it), so this room needs no other.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Protocol

from bento.errors import TorError
from bento.onion import consensus
from bento.onion.consensus import Consensus, Relay
from bento.onion.netinfo import Address

_CONSENSUS = "dir/status-vote/current/consensus-microdesc"
_VALID_AFTER = "consensus/valid-after"
_GUARDS = "entry-guards"
_KEYS = "md/all"  # at once, as a function may not ask for thousands one by one
_USABLE_GUARD = frozenset({"up", "never-connected"})


class ControlPort(Protocol):
    """What this room needs of a tor controller: GETINFO, answers by key, TorError on failure."""

    async def get_info(self, *keys: str) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class Directory:
    """A snapshot. `guards` are C-tor's own, in its order of preference."""

    consensus: Consensus
    relays: tuple[Relay, ...]
    guards: tuple[Relay, ...]

    def by_fingerprint(self, fingerprint: str) -> Relay:
        """The relay with this RSA fingerprint (40 hex digits); TorError when unknown."""
        wanted = fingerprint.removeprefix("$").upper()
        for relay in self.relays:
            if relay.fingerprint == wanted:
                return relay
        raise TorError("that relay is not in the consensus")

    def choose_path(
        self,
        length: int,
        last: Relay | None = None,
        avoid: Collection[bytes] = (),
        *,
        guard: Relay | None = None,
        flags: Collection[str] = (),
    ) -> list[Relay]:
        """A guard, then middles by bandwidth, then `last`; `length` counts all of them.

        No relay twice, no two of one family or one network (/16, /32), none whose RSA identity
        is in `avoid`. When so small a network leaves no choice, the family and network rules give
        way before the others do. TorError when even that does not help.
        """
        first = guard or self._guard(last, avoid)
        path = [first]
        ends = [first] if last is None else [first, last]
        for _ in range(length - len(ends)):
            path.append(self._middle([*path, *ends[1:]], avoid, flags))
        return path if last is None else [*path, last]

    def _guard(self, last: Relay | None, avoid: Collection[bytes]) -> Relay:
        for strict in (True, False):
            for relay in self.guards:
                taken = [last] if last is not None else []
                if _fits(relay, taken, avoid, strict=strict):
                    return relay
        raise TorError("tor has no guard that can be used", "wait until tor has bootstrapped")

    def _middle(
        self, path: Sequence[Relay], avoid: Collection[bytes], flags: Collection[str]
    ) -> Relay:
        wanted = {"Running", "Valid", "Fast", *flags}
        for strict in (True, False):
            choice = [
                relay
                for relay in self.relays
                if wanted <= relay.flags and _fits(relay, path, avoid, strict=strict)
            ]
            if choice:
                weights = [max(relay.bandwidth, 1) for relay in choice]
                return random.SystemRandom().choices(choice, weights)[0]
        raise TorError("the network has no relay left for this path")


def _fits(relay: Relay, path: Collection[Relay], avoid: Collection[bytes], *, strict: bool) -> bool:
    if relay.identity.rsa in avoid or any(relay.identity.rsa == p.identity.rsa for p in path):
        return False
    return not strict or not any(_related(relay, other) for other in path)


def _related(one: Relay, two: Relay) -> bool:
    """Same family (both must say so), or addresses in one network."""
    names = f"${one.fingerprint}", f"${two.fingerprint}"
    if names[0] in two.families and names[1] in one.families:
        return True
    networks = {_network(address) for address, _ in one.addresses}
    return any(_network(address) in networks for address, _ in two.addresses)


def _network(address: Address) -> IPv4Network | IPv6Network:
    return ip_network((address, 16 if address.version == 4 else 32), strict=False)


async def load(control: ControlPort, *, guards: bool = True) -> Directory:
    """A fresh snapshot, with tor's `guards` or none; TorError when tor has no usable consensus."""
    answers = await control.get_info(_CONSENSUS, *([_GUARDS] if guards else []))
    parsed = consensus.parse_consensus(answers[_CONSENSUS])
    texts = consensus.split_microdescriptors((await control.get_info(_KEYS))[_KEYS])
    listed = (e for e in parsed.entries if {"Running", "Valid"} <= e.flags)
    found = (consensus.relay(e, texts.get(e.microdescriptor, "")) for e in listed)
    relays = tuple(relay for relay in found if relay is not None)
    return Directory(parsed, relays, _guards(answers.get(_GUARDS, ""), relays))


async def is_newer(control: ControlPort, known: Directory) -> bool:
    """Whether tor has another consensus by now: a short question before the long one."""
    said = (await control.get_info(_VALID_AFTER))[_VALID_AFTER]
    return consensus.parse_time(said) != known.consensus.valid_after


def _guards(text: str, relays: Sequence[Relay]) -> tuple[Relay, ...]:
    """`$FINGERPRINT~name state ...`, one a line."""
    known = {relay.fingerprint: relay for relay in relays}
    rows = re.findall(r"(?m)^\$([0-9A-F]{40})\S* (\S+)", text)
    return tuple(known[fp] for fp, state in rows if state in _USABLE_GUARD and fp in known)
