"""The configuration of each tor of the private network, as tables. Pure.

Each role is a list of options in tor's own words (tor(1)); comments give the reason for those
which are not obvious. `tests/testnet/test_torrc.py` lets a real tor verify every one.
"""

from __future__ import annotations

from collections.abc import Callable

from bento.testnet.bandwidth import RATE
from bento.testnet.layout import (
    BOX_PORT,
    DIR_PORT,
    INNER_OR_PORT,
    OR_PORT,
    SOCKS_PORT,
    WEB,
    Layout,
    Node,
    Role,
)

Options = list[tuple[str, str]]

VOTING_INTERVAL = 300
"""Seconds between two consensuses. Long, because a vote keeps all tors busy for a moment and
onion services move after 24 of them; the first vote is called by hand (see `consensus.py`)."""

COMMON: Options = [
    ("TestingTorNetwork", "1"),
    ("ShutdownWaitLength", "0"),
    ("TruncateLogFile", "1"),
    ("NumCPUs", "1"),
    ("ClientUseIPv6", "0"),
    ("PathsNeededToBuildCircuits", "0.67"),
    ("V3AuthNIntervalsValid", "3"),
    # What the consensus of the live network says; tor's own default is 10.
    ("KISTSchedRunInterval", "2 msec"),
    # No geographic statistics: do not spend time on reading the tables.
    ("GeoIPFile", ""),
    ("GeoIPv6File", ""),
]

SERVER: Options = [
    ("AssumeReachable", "1"),
    ("SocksPort", "0"),
    ("ExtraInfoStatistics", "0"),
    ("MaxAdvertisedBandwidth", f"{RATE} bytes"),
    ("IPv6Exit", "0"),
    ("ServerDNSDetectHijacking", "0"),
    ("ServerDNSAllowBrokenConfig", "1"),
]

AUTHORITY: Options = [
    ("ExitRelay", "0"),
    ("AuthoritativeDirectory", "1"),
    ("V3AuthoritativeDirectory", "1"),
    ("ContactInfo", "the authority of a private test network"),
    ("TestingV3AuthInitialVotingInterval", str(VOTING_INTERVAL)),
    ("TestingV3AuthInitialVoteDelay", "2"),
    ("TestingV3AuthInitialDistDelay", "2"),
    ("V3AuthVotingInterval", str(VOTING_INTERVAL)),
    ("V3AuthVoteDelay", "2"),
    ("V3AuthDistDelay", "2"),
    # Or a relay whose descriptor the authority remembers is voted down until it is tested anew.
    ("AuthDirTestReachability", "0"),
    ("TestingDirAuthVoteExit", "*"),
    ("TestingDirAuthVoteGuard", "*"),
    ("TestingDirAuthVoteHSDir", "*"),
    ("TestingMinExitFlagThreshold", "0"),
    ("TestingMinFastFlagThreshold", "0"),
]

RELAY: Options = [("ExitRelay", "0")]

EXIT: Options = [
    ("ExitRelay", "1"),
    ("ExitPolicyRejectPrivate", "0"),
    ("ExitPolicy", f"accept {WEB}:*"),
    ("ExitPolicy", "reject private:*"),
    # Without a wide policy a client that has only microdescriptors would never choose this exit.
    # Nothing can leave the machine by it: the kernel refuses to route a packet from a loopback
    # address (OutboundBindAddress) over any other interface.
    ("ExitPolicy", "accept *:*"),
]

# The relay of a box is also the box's single-hop onion service: a box is public anyway.
BOX: Options = [
    ("ExitRelay", "1"),
    ("ExitPolicyRejectPrivate", "0"),
    ("HiddenServiceSingleHopMode", "1"),
    ("HiddenServiceNonAnonymousMode", "1"),
]

# A tor whose circuits bento builds itself: no pairs of circuits, and no learning of time limits
# from a handful of circuits that take a millisecond each.
DRIVEN: Options = [
    ("ConfluxEnabled", "0"),
    ("LearnCircuitBuildTimeout", "0"),
    ("CircuitBuildTimeout", "30"),
]


# Boxes announce themselves in full descriptors. An authority that came back with a saved consensus
# does not serve the kind that lists them before its next vote, but this tor has saved it too.
USER: Options = [("UseMicrodescriptors", "0")]


def torrc(layout: Layout, node: Node, *, authority_line: str, contact: str = "") -> Options:
    """All options of `node`.

    `authority_line` is the value of DirAuthority; `contact` is a box's announcement.
    """
    options = [
        *COMMON,
        ("Log", f"notice file {node.data / 'notice.log'}"),
        ("DirAuthority", authority_line),
        *(_server(layout, node) if node.role.is_server else []),
        *_OF_ROLE[node.role](node),
    ]
    if contact:
        options.append(("ContactInfo", contact))
    return options


def _server(layout: Layout, node: Node) -> Options:
    return [
        *SERVER,
        ("Nickname", node.name),
        ("Address", node.address),
        ("OutboundBindAddress", node.address),
        ("ServerDNSResolvConfFile", str(layout.resolv_conf)),
        *_or_ports(node, delayed=layout.delayed),
    ]


def _or_ports(node: Node, *, delayed: bool) -> Options:
    """With delay, others are told of the forwarder's port and tor listens behind it."""
    if not delayed:
        return [("ORPort", f"{node.address}:{OR_PORT} IPv4Only")]
    return [
        ("ORPort", f"{node.address}:{OR_PORT} IPv4Only NoListen"),
        ("ORPort", f"{node.address}:{INNER_OR_PORT} IPv4Only NoAdvertise"),
    ]


def _authority(node: Node) -> Options:
    return [*AUTHORITY, ("DirPort", f"{node.address}:{DIR_PORT}")]


def _box(node: Node) -> Options:
    return [
        *BOX,
        ("ExitPolicy", f"accept {node.address}:{BOX_PORT}"),
        ("ExitPolicy", f"accept {WEB}:*"),
        ("ExitPolicy", "reject *:*"),
    ]


def _client(node: Node) -> Options:
    return [("SocksPort", f"{node.address}:{SOCKS_PORT}")]


def _driven(node: Node) -> Options:
    return [*DRIVEN, ("SocksPort", f"unix:{node.socks}")]


def _user(node: Node) -> Options:
    return [*_driven(node), *USER]


_OF_ROLE: dict[Role, Callable[[Node], Options]] = {
    Role.AUTHORITY: _authority,
    Role.RELAY: lambda _: RELAY,
    Role.EXIT: lambda _: EXIT,
    Role.BOX: _box,
    Role.FUNCTIONS: _driven,
    Role.CLIENT: _client,
    Role.USER: _user,
}
