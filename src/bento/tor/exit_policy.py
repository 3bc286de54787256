"""Exit policies: which addresses a relay connects to, with tor's own meaning of every rule.

Invariant: for any text that tor writes or accepts, `allows` gives tor's verdict; anything else
raises TorError. The first rule that covers address and port decides.

Two dialects (dir-spec 2.1.3, torrc(5) ExitPolicy), which differ in `*`:

  descriptor   as tor reports it (`GETINFO exit-policy/full`): `accept *` is IPv4 alone and
               `accept6 *` IPv6 alone
  torrc        as an operator writes it: `*` is both, `*4` and `*6` one, `private` a list

One difference on purpose: an address that no rule covers is refused here, and accepted by tor.
Tor ends every policy it reports with rules for everything, so only text cut short can tell.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bento.errors import TorError, UsageError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# A descriptor of 20,000 bytes cannot hold more rules; a torrc with more is a mistake.
MAX_RULES = 4096
# "accept6 [v6]/128:10000-65535" with room for spaces; tor's own buffer is of this order.
_MAX_RULE_LENGTH = 160
_WIDTH = {4: 32, 6: 128}
_KEYWORDS = {
    "accept": (True, False),
    "reject": (False, False),
    "accept6": (True, True),
    "reject6": (False, True),
}
# tor's private_nets[] (policies.c); all authorities agree on it, so it does not change.
PRIVATE_NETWORKS = (
    "0.0.0.0/8",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "192.168.0.0/16",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "[::]/8",
    "[fc00::]/7",
    "[fe80::]/10",
    "[fec0::]/10",
    "[ff00::]/8",
    "[::]/127",
)


@dataclass(frozen=True, slots=True)
class Rule:
    """`accept` or refuse addresses of `version` (4 or 6) whose first `bits` are those of `network`,
    on ports `first_port` to `last_port`."""

    accept: bool
    version: int
    network: int
    bits: int
    first_port: int
    last_port: int

    def covers(self, version: int, address: int, port: int) -> bool:
        if version != self.version or not self.first_port <= port <= self.last_port:
            return False
        return (address ^ self.network) >> (_WIDTH[version] - self.bits) == 0

    def __str__(self) -> str:
        """In the descriptor dialect, as tor writes it."""
        keyword = ("accept" if self.accept else "reject") + ("6" if self.version == 6 else "")
        return f"{keyword} {self._address()}:{self._ports()}"

    def _address(self) -> str:
        if self.bits == 0:
            return "*"
        if self.version == 4:
            text = str(ipaddress.IPv4Address(self.network))
        else:
            text = f"[{ipaddress.IPv6Address(self.network)}]"
        return text if self.bits == _WIDTH[self.version] else f"{text}/{self.bits}"

    def _ports(self) -> str:
        if (self.first_port, self.last_port) == (1, 65535):
            return "*"
        if self.first_port == self.last_port:
            return str(self.first_port)
        return f"{self.first_port}-{self.last_port}"


@dataclass(frozen=True, slots=True)
class ExitPolicy:
    """Rules in order. An empty policy allows nothing."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, policy: str | Iterable[str], *, torrc: bool = False) -> ExitPolicy:
        """Rules separated by commas or line ends, in the descriptor dialect unless `torrc`.

        Raises TorError for any rule that tor would not take."""
        text = policy if isinstance(policy, str) else "\n".join(policy)
        items = [item.strip() for item in text.replace(",", "\n").split("\n")]
        rules: list[Rule] = []
        for item in filter(None, items):
            rules += _parse_rule(item, torrc)
            if len(rules) > MAX_RULES:
                raise TorError(f"an exit policy has more than {MAX_RULES} rules")
        return cls(tuple(rules))

    def allows(self, ip: str | IPAddress, port: int) -> bool:
        """Whether this relay would connect to `ip:port`. UsageError if that is no address or port.

        As in tor, an IPv4-mapped IPv6 address is an IPv6 address: unwrap it first if the
        connection would be made by IPv4."""
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            raise UsageError(f"{ip!r} is no IP address") from None
        if not 0 < port < 65536:
            raise UsageError(f"{port} is no port")
        number = int(address)
        if number == 0:
            return False  # tor takes the null address for an unresolved one
        for rule in self.rules:
            if rule.covers(address.version, number, port):
                return rule.accept
        return False

    def __str__(self) -> str:
        """In the descriptor dialect, one rule a line."""
        return "\n".join(map(str, self.rules))


# (version, network, bits)
_Place = tuple[int, int, int]
_EVERYWHERE: dict[int, _Place] = {4: (4, 0, 0), 6: (6, 0, 0)}
# Which versions a wildcard stands for, by (dialect is torrc, keyword ends in 6).
_WILDCARDS: dict[tuple[bool, bool], dict[str, tuple[int, ...]]] = {
    (False, False): {"*": (4,)},
    (False, True): {"*": (6,)},
    (True, False): {"*": (4, 6), "*4": (4,), "*6": (6,)},
    (True, True): {"*": (6,), "*4": (), "*6": (6,)},
}
_MAPPED_IPV4 = 0xFFFF  # the first 96 bits of ::ffff:a.b.c.d


def _parse_rule(item: str, torrc: bool) -> Iterator[Rule]:
    words = item.split()
    if len(item) > _MAX_RULE_LENGTH or len(words) != 2 or words[0] not in _KEYWORDS:
        raise _malformed(item)
    accept, only_6 = _KEYWORDS[words[0]]
    pattern, ports = _split_ports(words[1])
    try:
        first, last = _parse_ports(ports)
        places = _parse_places(pattern, torrc, only_6)
    except ValueError:
        raise _malformed(item) from None
    if pattern == "private" and ports is None:
        raise _malformed(item)  # as in tor: the one place where the port must be written
    for place in places:
        yield Rule(accept, *place, first, last)


def _split_ports(pattern: str) -> tuple[str, str | None]:
    """`[v6]/mask:ports` -> address with mask, and ports if there are any."""
    end = pattern.find("]") + 1
    head, colon, ports = pattern[end:].partition(":")
    return pattern[:end] + head, ports if colon else None


def _parse_ports(text: str | None) -> tuple[int, int]:
    if text in (None, "", "*"):
        return 1, 65535
    low, dash, high = text.partition("-")
    first = _number(low, 65535)
    last = _number(high, 65535) if dash else first
    if last < max(first, 1):
        raise ValueError
    return max(first, 1), last


def _parse_places(pattern: str, torrc: bool, only_6: bool) -> tuple[_Place, ...]:
    wildcards = _WILDCARDS[torrc, only_6]
    if pattern in wildcards:
        return tuple(_EVERYWHERE[version] for version in wildcards[pattern])
    places = _PRIVATE if pattern == "private" else (_parse_network(pattern),)
    if only_6 and places[0][0] == 4:
        if torrc:
            return ()  # tor warns and leaves the rule out, all of `private` too
        raise ValueError
    return places


def _parse_network(pattern: str) -> _Place:
    text, slash, mask = pattern.partition("/")
    if text.startswith("["):
        if not text.endswith("]") or "%" in text:
            raise ValueError
        number = int(ipaddress.IPv6Address(text[1:-1]))
        return 6, number, _bits_6(number, mask) if slash else 128
    return 4, int(ipaddress.IPv4Address(text)), _bits_4(mask) if slash else 32


def _bits_4(mask: str) -> int:
    """A number of bits, or an address whose ones come first."""
    if "." not in mask:
        return _number(mask, 32)
    ones = int(ipaddress.IPv4Address(mask)) ^ 0xFFFFFFFF
    if ones & (ones + 1):
        raise ValueError
    return 32 - ones.bit_length()


def _bits_6(number: int, mask: str) -> int:
    bits = _number(mask, 128)
    if number >> 32 != _MAPPED_IPV4:
        return bits
    if 32 < bits < 96:
        raise ValueError
    return 96 + bits % 32  # tor's way with IPv4-mapped addresses, /128 included


def _number(text: str, limit: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > limit:
        raise ValueError
    return int(text)


_PRIVATE = tuple(_parse_network(network) for network in PRIVATE_NETWORKS)


def _malformed(item: str) -> TorError:
    return TorError(f"an exit policy has a rule that cannot be read: {item[:80]!r}")
