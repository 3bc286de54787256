"""The network as tor knows it: relays with flags and weights, and their families.

Invariant: text from tor gives values or TorError. The consensus is signed by the authorities and
checked by tor, but nicknames, addresses and families are what relay operators wrote.

Formats: dir-spec 3.4.1 (router status entries), 3.8.2 (bandwidth weights), 2.1.1 (family).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from bento.errors import TorError

# Twice the live network of today.
MAX_RELAYS = 20_000
# A family line fills at most a descriptor of 20,000 bytes.
_MAX_FAMILY = 1024
_R_WORDS = (8, 9)  # microdescriptor consensus, full consensus


@dataclass(frozen=True, slots=True)
class RouterStatus:
    """One relay in the consensus. `bandwidth` is its weight (KB/s where it was measured)."""

    fingerprint: str
    nickname: str
    address: str
    or_port: int
    flags: frozenset[str] = frozenset()
    bandwidth: int = 0
    exit_policy_summary: str = ""


def parse_statuses(text: str) -> dict[str, RouterStatus]:
    """`GETINFO ns/all` -> relays by fingerprint (40 upper-case hex digits)."""
    relays: dict[str, RouterStatus] = {}
    entry: list[str] = []
    for line in [*text.split("\n"), "r "]:
        if line.startswith("r ") and entry:
            relay = _status(entry)
            if relay.fingerprint in relays:
                raise TorError(f"the consensus has the relay {relay.fingerprint} twice")
            relays[relay.fingerprint] = relay
            entry = []
            if len(relays) > MAX_RELAYS:
                raise TorError(f"the consensus has more than {MAX_RELAYS} relays")
        if line.strip():
            entry.append(line)
    return relays


def _status(lines: list[str]) -> RouterStatus:
    words = lines[0].split(" ")
    fields = {key: rest for key, _, rest in (line.partition(" ") for line in lines[1:])}
    try:
        if words[0] != "r" or len(words) not in _R_WORDS:
            raise ValueError
        return RouterStatus(
            fingerprint=_fingerprint(words[2]),
            nickname=words[1],
            address=str(ipaddress.IPv4Address(words[-3])),
            or_port=_decimal(words[-2], 65535),
            flags=frozenset(fields.get("s", "").split()),
            bandwidth=_bandwidth(fields.get("w", "")),
            exit_policy_summary=fields.get("p", ""),
        )
    except (ValueError, binascii.Error):
        raise TorError(f"the consensus has an entry that cannot be read: {words[:2]}") from None


def _fingerprint(digest: str) -> str:
    raw = base64.b64decode(digest + "=", validate=True)
    if len(raw) != 20:
        raise ValueError
    return raw.hex().upper()


def _bandwidth(line: str) -> int:
    for word in line.split():
        key, _, value = word.partition("=")
        if key == "Bandwidth":
            return _decimal(value, 2**32 - 1)
    return 0


def _decimal(text: str, limit: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > limit:
        raise ValueError
    return int(text)


@dataclass(frozen=True, slots=True)
class BandwidthWeights:
    """How much of a relay's bandwidth counts in the middle of a path, of 10,000, by its flags."""

    plain: int = 10_000
    guard: int = 10_000
    exit: int = 10_000
    both: int = 10_000

    def in_the_middle(self, relay: RouterStatus) -> int:
        """The weight of `relay` as a middle relay; 0 is possible."""
        is_guard, is_exit = "Guard" in relay.flags, "Exit" in relay.flags
        table = {
            (False, False): self.plain,
            (True, False): self.guard,
            (False, True): self.exit,
            (True, True): self.both,
        }
        return relay.bandwidth * table[is_guard, is_exit]


def parse_bandwidth_weights(consensus: str) -> BandwidthWeights:
    """The weights in a consensus's footer; all equal if it names none."""
    _, found, rest = consensus.rpartition("\nbandwidth-weights ")
    words = rest.partition("\n")[0].split() if found else []
    values = dict(word.partition("=")[::2] for word in words)
    try:
        middle = [
            _decimal(values.get(key, "10000"), 10_000) for key in ("Wmm", "Wmg", "Wme", "Wmd")
        ]
    except ValueError:
        raise TorError("the consensus has bandwidth weights that cannot be read") from None
    return BandwidthWeights(*middle)


@dataclass(frozen=True, slots=True)
class Family:
    """Whom one relay names as run by the same people, and the family keys it has proved."""

    fingerprint: str
    nickname: str
    named: frozenset[str] = frozenset()  # fingerprints, and nicknames in lower case
    proved: frozenset[str] = frozenset()

    def names(self, other: Family) -> bool:
        return other.fingerprint in self.named or other.nickname.lower() in self.named


def related(one: Family, other: Family) -> bool:
    """Whether both relays say that they belong together, as tor has it.

    One side alone does not count: else a box could name all relays but its friends as family, and
    so choose its visitors' way."""
    return bool(one.proved & other.proved) or (one.names(other) and other.names(one))


def parse_family(relay: RouterStatus, descriptor: str) -> Family:
    """The family in a relay's descriptor or microdescriptor."""
    named: set[str] = set()
    proved: set[str] = set()
    for line in descriptor.split("\n"):
        key, _, rest = line.partition(" ")
        if key == "family":
            named.update(_family_member(word) for word in rest.split()[:_MAX_FAMILY])
        elif key == "family-ids":
            proved.update(rest.split()[:_MAX_FAMILY])
    return Family(relay.fingerprint, relay.nickname, frozenset(named), frozenset(proved))


def _family_member(word: str) -> str:
    if not word.startswith("$"):
        return word.lower()
    return word[1:41].upper()


@dataclass(frozen=True)
class Network:
    """One look at the network."""

    relays: Mapping[str, RouterStatus]
    weights: BandwidthWeights = field(default_factory=BandwidthWeights)
