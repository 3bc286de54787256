"""Every limit of the egress room, in one place, each with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# Entries of one manifest or policy list. A list that needs more wants a network or `*`.
MAX_RULES = 64

# Characters of one entry: a name of 253, a wildcard, a port range, and some air.
MAX_RULE_LENGTH = 280

# RFC 1035 §2.3.4, as text without the trailing dot.
MAX_NAME_LENGTH = 253
MAX_LABEL_LENGTH = 63

# A SOCKS5 greeting is at most 2 + 255 bytes, a request 4 + 1 + 255 + 2 (RFC 1928 §3, §4), a user
# name with its password 3 + 2 * 255 (RFC 1929 §2).
MAX_HANDSHAKE = 257 + 262 + 513

# The sentence after a failed SOCKS reply, in bytes of UTF-8, its newline included.
MAX_REASON = 480

# Bytes of one turn of the relay: more at once gains nothing (benchmarks/egress.py).
RELAY_BUFFER = 128 * KIB

# Below this many bytes of rate allowance a connection sleeps instead of reading crumbs.
MIN_READ = 4 * KIB

# Answers looked at for one name; what comes after them is not tried.
MAX_ANSWERS = 8

# Connections the kernel hands over in one turn of the loop, so that a flood cannot hold the loop.
ACCEPT_BATCH = 16

# Destinations remembered in one ledger. Each holds a bucket of about 200 bytes.
MAX_DESTINATIONS = 4096

# ORPorts taken from one consensus: five times what the live network has, one or two for each relay.
MAX_OR_PORTS = 50_000

# Look-ups one box runs at once: each is a thread inside the C library's resolver.
MAX_LOOKUPS = 16


@dataclass(frozen=True, slots=True)
class DestinationLimits:
    """What may be done to any one destination, so that a box is no tool for a flood.

    A destination is an IPv4 address, an IPv6 /64 (what one customer is given) or, through
    Tor, a name."""

    connections: int = 16
    """Open at once: twice what a browser opens to one host."""

    connections_per_second: float = 4.0
    """Sustained; faster ones wait their turn."""

    burst_connections: int = 48
    """Before that rate counts: a page whose parts come from one host, without keep-alive."""

    wait_seconds: float = 10.0
    """A connection that would have to wait longer than this is refused."""


@dataclass(frozen=True, slots=True)
class EgressLimits:
    """What one instance may do to the network, whatever its policy allows."""

    total_bytes: int = 4 * GIB
    """Bytes in both directions over the whole life of an instance."""

    bytes_per_second: int = 16 * MIB
    """Sustained rate, both directions together: about four times one Tor circuit."""

    burst_bytes: int = 8 * MIB
    """Bytes that may pass at line speed before the rate counts: one heavy web page."""

    connections: int = 64
    """Open at once. Chromium opens at most 32 through one SOCKS proxy."""

    handshakes: int = 16
    """Connections that have not finished their SOCKS exchange or are being dialled. When all
    are taken nothing more is accepted, so a slow-loris waits for itself."""

    connections_per_second: float = 20.0
    """Sustained rate of new connections. Faster ones are accepted later, not refused."""

    burst_connections: int = 128
    """New connections before that rate counts: a page of a hundred parts."""

    lookups: int = 4
    """Names being resolved at once for one instance; a slow name server is its own problem."""

    handshake_seconds: float = 10.0
    """From accept to a complete SOCKS request."""

    lookup_seconds: float = 15.0
    """For one name: above the C library's own two tries of five seconds."""

    connect_seconds: float = 45.0
    """From the request to a connection or an error: look-up, waiting for a turn, every address."""

    address_seconds: float = 10.0
    """For one of several addresses of a name, so that a dead one leaves time for the next."""

    idle_seconds: float = 600.0
    """Without a byte in either direction."""

    destination: DestinationLimits = field(default_factory=DestinationLimits)
    """What this instance alone may do to one destination."""


BOX_DESTINATION_LIMITS = DestinationLimits(
    connections=64, connections_per_second=16.0, burst_connections=192
)
"""The same for all instances of a box together: four instances' worth."""
