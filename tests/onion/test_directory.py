"""The directory: strict reading of what tor gives, and paths that keep their rules."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import TorError
from bento.onion import consensus, directory
from bento.onion.certs import RelayIdentity
from bento.onion.consensus import Consensus, Relay, SharedRandom
from bento.onion.directory import Directory
from bento.onion.network import Network


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


HEAD = f"""network-status-version 3 microdesc
valid-after 2026-11-22 10:00:00
fresh-until 2026-11-22 11:00:00
valid-until 2026-11-22 13:00:00
shared-rand-previous-value 9 {b64(bytes([1]) * 32)}=
shared-rand-current-value 9 {b64(bytes([2]) * 32)}=
params cc_alg=2 hsdir_interval=1440
"""
ENTRY = f"""r alpha {b64(bytes([7]) * 20)} 2038-01-01 00:00:00 192.0.2.7 9001 0
a [2001:db8::7]:9002
m MICRODESCRIPTOR
s Fast Guard HSDir Running Stable V2Dir Valid
v Tor 0.4.9.11
pr FlowCtrl=1-2 HSDir=2 Link=3-5 Relay=2-4,6
w Bandwidth=147 Unmeasured=1
"""
MICRODESCRIPTOR = f"""onion-key
-----BEGIN RSA PUBLIC KEY-----
ntor-onion-key {b64(bytes([8]) * 32)}
family ${"AB" * 20} $CDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCD=beta other
id ed25519 {b64(bytes([9]) * 32)}
"""
ENTRY = ENTRY.replace("MICRODESCRIPTOR", b64(hashlib.sha256(MICRODESCRIPTOR.encode()).digest()))


def test_a_consensus_is_read() -> None:
    known = consensus.parse_consensus(HEAD + ENTRY)
    assert known.voting_interval == 3600
    assert known.parameters == {"cc_alg": 2, "hsdir_interval": 1440}
    assert known.shared_random == SharedRandom(b"\2" * 32, b"\1" * 32)
    (entry,) = known.entries
    assert entry.addresses == (
        (ipaddress.ip_address("192.0.2.7"), 9001),
        (ipaddress.ip_address("2001:db8::7"), 9002),
    )
    assert entry.protocols["Relay"] == {2, 3, 4, 6}
    relay = consensus.relay(entry, MICRODESCRIPTOR)
    assert relay is not None
    assert relay.identity == RelayIdentity(b"\7" * 20, bytes([9]) * 32)
    assert relay.onion_key == b"\10" * 32
    assert relay.families == {"$" + "AB" * 20, "$" + "CD" * 20}
    assert relay.congestion_control
    assert [kind for kind, _ in relay.target.specifiers] == [0, 2, 3, 1]


@pytest.mark.parametrize("text", ["", "x", "network-status-version 3\n", HEAD + "r alpha\n"])
def test_what_is_no_consensus_is_refused(text: str) -> None:
    with pytest.raises(TorError):
        consensus.parse_consensus(text)


def test_keys_of_a_wrong_size_are_refused() -> None:
    with pytest.raises(TorError):
        consensus.parse_consensus(HEAD + ENTRY.replace(b64(b"\7" * 20), b64(b"\7" * 19)))
    short = MICRODESCRIPTOR.replace(b64(bytes([9]) * 32), b64(bytes([9]) * 31))
    assert consensus.parse_microdescriptor(short) is None


@given(st.text(max_size=200), st.integers(0, len(ENTRY)))
def test_any_text_is_a_consensus_or_the_declared_error(text: str, at: int) -> None:
    for said in (text, HEAD + text, HEAD + ENTRY[:at] + text + ENTRY[at:]):
        try:
            consensus.parse_consensus(said)
        except TorError:
            pass


@given(st.text(max_size=300))
def test_any_text_is_a_microdescriptor_or_nothing(text: str) -> None:
    consensus.parse_microdescriptor(text)
    consensus.parse_microdescriptor("ntor-onion-key " + text + "\nid ed25519 " + text)


def relay(number: int, *, net: int | None = None, family: int = 0, bandwidth: int = 10) -> Relay:
    identity = RelayIdentity(bytes([number]) * 20, bytes([number]) * 32)
    address = ipaddress.ip_address(f"10.{number if net is None else net}.0.{number}")
    names = {f"${bytes([family]).hex().upper() * 20}"} if family else set()
    return Relay(
        f"r{number}",
        identity,
        bytes(32),
        ((address, 9001),),
        frozenset({"Running", "Valid", "Fast", "Stable"}),
        {},
        bandwidth,
        frozenset(names),
    )


def known(relays: list[Relay], guards: list[Relay]) -> Directory:
    empty = Consensus(0, 3600, 7200, {}, SharedRandom(None, None), ())
    return Directory(empty, tuple(relays), tuple(guards))


@pytest.mark.parametrize("length", [2, 3, 4] * 20)
def test_a_path_has_no_relay_family_or_network_twice(length: int) -> None:
    relays = [
        *(relay(n) for n in range(1, 10)),
        relay(20, net=1),
        relay(21, net=2),
        relay(30, family=31),
        relay(31, family=30),
    ]
    path = known(relays, relays[:3]).choose_path(length, relays[8], avoid=[bytes([4]) * 20])
    assert len(path) == length
    assert path[-1] == relays[8]
    assert path[0] in relays[:3]
    assert len({str(r.addresses[0][0]).split(".")[1] for r in path}) == length
    assert relays[3] not in path
    assert not {"r30", "r31"} <= {r.nickname for r in path}


def test_the_first_guard_that_fits_is_taken_always() -> None:
    relays = [relay(n) for n in range(1, 6)]
    assert known(relays, relays[:3]).choose_path(3, relays[4])[0] == relays[0]
    assert known(relays, relays[:3]).choose_path(3, relays[0])[0] == relays[1]


def test_middles_are_chosen_by_bandwidth() -> None:
    relays = [relay(1), relay(2, bandwidth=1), relay(3, bandwidth=99)]
    net = known(relays, relays[:1])
    middles = [net.choose_path(2)[1].nickname for _ in range(400)]
    assert middles.count("r3") > 360


def test_a_small_network_gives_up_the_softer_rules_first() -> None:
    relays = [relay(n, net=1) for n in range(1, 5)]
    path = known(relays, relays[:1]).choose_path(4, relays[3])
    assert len({r.nickname for r in path}) == 4
    with pytest.raises(TorError, match="no relay left"):
        known(relays, relays[:1]).choose_path(5, relays[3])
    with pytest.raises(TorError, match="guard"):
        known(relays, []).choose_path(2)


class Tor:
    """`ControlPort` from a table; one unknown key fails the whole question, as in tor."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def get_info(self, *keys: str) -> dict[str, str]:
        self.asked += keys
        if any(key not in self.answers for key in keys):
            raise TorError("unknown key")
        return {key: self.answers[key] for key in keys}


async def test_relays_without_a_microdescriptor_are_left_out() -> None:
    other = MICRODESCRIPTOR.replace(b64(bytes([9]) * 32), b64(bytes([3]) * 32))
    second = ENTRY.replace(b64(b"\7" * 20), b64(b"\6" * 20)).replace("alpha", "beta")
    second = second.replace("m ", "m " + "A" * 43 + "\nx ")
    hidden = ENTRY.replace(b64(b"\7" * 20), b64(b"\5" * 20)).replace("Running ", "")
    tor = Tor(
        {
            "dir/status-vote/current/consensus-microdesc": HEAD + ENTRY + second + hidden,
            "entry-guards": f"${'07' * 20}~alpha up\n${'06' * 20}~beta up\n${'99' * 20} up",
            "md/all": (other + MICRODESCRIPTOR).removesuffix("\n"),
        }
    )
    net = await directory.load(tor)
    assert [r.nickname for r in net.relays] == ["alpha"]
    assert [r.nickname for r in net.guards] == ["alpha"]


async def test_guards_that_are_down_are_not_used() -> None:
    tor = Tor(
        {
            "dir/status-vote/current/consensus-microdesc": HEAD + ENTRY,
            "entry-guards": f"${'07' * 20}~alpha down 2026-11-22 10:00:00",
            "md/all": MICRODESCRIPTOR,
        }
    )
    assert (await directory.load(tor)).guards == ()


def tor_with(hour: int) -> dict[str, str]:
    valid_after = f"2026-11-22 {hour}:00:00"
    return {
        "dir/status-vote/current/consensus-microdesc": HEAD.replace(
            "2026-11-22 10:00:00", valid_after
        )
        + ENTRY,
        "entry-guards": "",
        "md/all": MICRODESCRIPTOR,
        "consensus/valid-after": valid_after,
    }


async def test_an_overdue_consensus_is_asked_for_by_a_short_question_and_not_all_the_time(
    monkeypatch,
) -> None:
    tor = Tor(tor_with(10))
    net = Network(tor)
    now = consensus.parse_time("2026-11-22 10:30:00")
    monkeypatch.setattr(time, "time", lambda: float(now))
    first = await net.directory()
    long_ones = len(tor.asked)
    assert await net.directory() is first and len(tor.asked) == long_ones
    now = consensus.parse_time("2026-11-22 11:10:00")
    for _ in range(50):
        assert await net.directory() is first
    assert tor.asked[long_ones:] == ["consensus/valid-after"]
    tor.answers = tor_with(11)
    now += 1000
    assert (await net.directory()).consensus.valid_after > first.consensus.valid_after


async def test_a_tor_that_does_not_answer_is_no_harm_while_the_consensus_is_valid(
    monkeypatch,
) -> None:
    tor = Tor(tor_with(10))
    net = Network(tor)
    now = consensus.parse_time("2026-11-22 10:30:00")
    monkeypatch.setattr(time, "time", lambda: float(now))
    first = await net.directory()
    tor.answers = {}
    now = consensus.parse_time("2026-11-22 12:59:00")
    assert await net.directory() is first
    now = consensus.parse_time("2026-11-22 13:30:00")
    with pytest.raises(TorError):
        await net.directory()
