"""Reading a consensus and microdescriptors, as a C-tor beside us has fetched and verified them.

No signature is checked here: C-tor did that. What we need is still read strictly, and bounded.
Formats: dir-spec 3.4.1 (microdesc flavour), 3.3 (microdescriptors).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bento.errors import TorError
from bento.onion import linkspec
from bento.onion.certs import RelayIdentity
from bento.onion.linkspec import Target
from bento.onion.netinfo import Address

MAX_RELAYS = 100_000  # the live network has about 8,000

_FAULT = "the directory that tor gave us is not as it should be"


@dataclass(frozen=True, slots=True)
class Relay:
    """One relay that is Running and Valid, with the keys of its microdescriptor."""

    nickname: str
    identity: RelayIdentity
    onion_key: bytes
    addresses: tuple[tuple[Address, int], ...]
    flags: frozenset[str]
    protocols: Mapping[str, frozenset[int]]
    bandwidth: int  # kB/s as voted, the weight in path choice
    families: frozenset[str] = frozenset()  # `$FINGERPRINT`s in upper case

    @property
    def fingerprint(self) -> str:
        return self.identity.rsa.hex().upper()

    @property
    def target(self) -> Target:
        """What a circuit needs to extend here."""
        specifiers = linkspec.for_relay(self.identity, self.addresses)
        return Target(self.identity, self.onion_key, specifiers)

    @property
    def congestion_control(self) -> bool:
        """Whether it can agree on congestion control in an ntor-v3 handshake."""
        return 2 in self.protocols.get("FlowCtrl", ()) and 4 in self.protocols.get("Relay", ())


@dataclass(frozen=True, slots=True)
class SharedRandom:
    """The values that place onion services on the ring; None until the network made one."""

    current: bytes | None
    previous: bytes | None


@dataclass(frozen=True, slots=True)
class Consensus:
    """Times in seconds since 1970; `relays` maps base64 fingerprints to their raw entries."""

    valid_after: int
    fresh_until: int
    valid_until: int
    parameters: Mapping[str, int]
    shared_random: SharedRandom
    entries: tuple[Entry, ...]

    @property
    def voting_interval(self) -> int:
        """Seconds between two consensuses."""
        return self.fresh_until - self.valid_after


@dataclass(frozen=True, slots=True)
class Entry:
    """A relay as the consensus lists it; its onion key is in its microdescriptor."""

    nickname: str
    rsa: bytes
    addresses: tuple[tuple[Address, int], ...]
    flags: frozenset[str]
    protocols: Mapping[str, frozenset[int]] = field(default_factory=dict)
    bandwidth: int = 0
    microdescriptor: bytes = b""  # its SHA-256


def parse_consensus(text: str) -> Consensus:
    """A microdesc-flavour consensus; TorError when it is not one."""
    head, *blocks = re.split(r"(?m)^(?=r )", text)
    if not head.startswith("network-status-version 3") or len(blocks) > MAX_RELAYS:
        raise TorError(_FAULT)
    try:
        return Consensus(
            _time(head, "valid-after"),
            _time(head, "fresh-until"),
            _time(head, "valid-until"),
            _numbers(_line(head, "params") or ""),
            SharedRandom(
                _shared(head, "shared-rand-current-value"),
                _shared(head, "shared-rand-previous-value"),
            ),
            tuple(_entry(block) for block in blocks),
        )
    except (ValueError, IndexError) as error:
        raise TorError(_FAULT) from error


def split_microdescriptors(text: str) -> dict[bytes, str]:
    """Microdescriptors one after another, each by its SHA-256, which is what the consensus calls it.

    The last line's end may be missing: a control-port reply does not keep it."""
    parts = re.split(r"(?m)^(?=onion-key$)", text.removesuffix("\n") + "\n")
    return {
        hashlib.sha256(part.encode(errors="replace")).digest(): part
        for part in parts[: MAX_RELAYS + 1]
    }


def parse_microdescriptor(text: str) -> tuple[bytes, bytes, frozenset[str]] | None:
    """The onion key, the Ed25519 identity and the family; None when a key is absent."""
    onion, identity = _line(text, "ntor-onion-key"), _line(text, "id ed25519")
    if onion is None or identity is None:
        return None
    try:
        keys = _base64(onion.split()[0], 32), _base64(identity.split()[0], 32)
    except (ValueError, IndexError):
        return None
    words = (_line(text, "family") or "").split()
    family = frozenset(w.partition("=")[0].partition("~")[0].upper() for w in words if w[0] == "$")
    return *keys, family


def relay(entry: Entry, microdescriptor: str) -> Relay | None:
    """Both halves of what is known about a relay; None when its keys are not known."""
    keys = parse_microdescriptor(microdescriptor)
    if keys is None:
        return None
    onion, identity, family = keys
    return Relay(
        entry.nickname,
        RelayIdentity(entry.rsa, identity),
        onion,
        entry.addresses,
        entry.flags,
        entry.protocols,
        entry.bandwidth,
        family,
    )


def _line(text: str, keyword: str) -> str | None:
    match = re.search(rf"(?m)^{re.escape(keyword)}(?: (.*))?$", text)
    return (match[1] or "") if match else None


def parse_time(text: str) -> int:
    """Seconds since 1970 from `2038-01-19 03:14:07`; TorError when it is no time."""
    try:
        return _seconds(text)
    except ValueError as error:
        raise TorError(_FAULT) from error


def _time(head: str, keyword: str) -> int:
    return _seconds(_line(head, keyword) or "")


def _seconds(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp())


def _numbers(words: str) -> dict[str, int]:
    pairs = (word.partition("=") for word in words.split())
    return {name: int(value) for name, _, value in pairs}


def _shared(head: str, keyword: str) -> bytes | None:
    value = _line(head, keyword)
    return _base64(value.split()[1], 32) if value else None


def _base64(text: str, size: int) -> bytes:
    bare = text.rstrip("=")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error
    if len(data) != size:
        raise ValueError(text)
    return data


def _entry(block: str) -> Entry:
    words = block.split("\n", 1)[0].split()
    addresses: list[tuple[Address, int]] = [(ipaddress.IPv4Address(words[5]), int(words[6]))]
    for more in re.findall(r"(?m)^a (\S+)$", block):
        host, _, port = more.rpartition(":")
        addresses.append((ipaddress.ip_address(host.strip("[]")), int(port)))
    weight = re.search(r"(?m)^w .*?\bBandwidth=(\d+)", block)
    return Entry(
        words[1],
        _base64(words[2], 20),
        tuple(addresses),
        frozenset((_line(block, "s") or "").split()),
        _protocols(_line(block, "pr") or ""),
        int(weight[1]) if weight else 0,
        _base64(_line(block, "m") or "", 32),
    )


def _protocols(text: str) -> dict[str, frozenset[int]]:
    """`Relay=1-4 Link=5` as sets (dir-spec 3.4.1, "pr"); versions are 0 to 63."""
    found: dict[str, frozenset[int]] = {}
    for word in text.split():
        name, _, ranges = word.partition("=")
        numbers: set[int] = set()
        for part in filter(None, ranges.split(",")):
            low, _, high = part.partition("-")
            numbers.update(range(int(low), min(int(high or low), 63) + 1))
        found[name] = frozenset(numbers)
    return found
