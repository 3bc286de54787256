"""Three questions, each of which can only refuse; a refusal says which and what would allow it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.egress import EgressPolicy, EgressRules, IPAddress, OrPorts, Question

EVERYTHING = EgressRules.parse(["*:*"])
PUBLIC = ip_address("93.184.216.34")


@dataclass
class Exit:
    """An exit policy made of one function."""

    judge: Callable[[IPAddress, int], bool]

    def allows(self, ip: IPAddress, port: int, /) -> bool:
        return self.judge(ip, port)


OPEN = EgressPolicy(rules=EVERYTHING, exit_policy=Exit(lambda ip, port: True))


def test_nothing_is_allowed_by_default() -> None:
    for policy in (EgressPolicy(), EgressPolicy(rules=EVERYTHING)):
        for name, ip in ((None, PUBLIC), ("example.com", PUBLIC), ("example.com", None)):
            assert policy.verdict(name, ip, 443).question is Question.EXIT
    assert replace(OPEN, rules=EgressRules()).verdict(None, PUBLIC, 443).question is (
        Question.MANIFEST
    )


def test_the_public_internet_is_allowed_when_all_three_agree() -> None:
    assert OPEN.verdict(None, PUBLIC, 443).allowed
    assert OPEN.verdict("example.com", PUBLIC, 443).allowed


def test_an_exit_policy_cannot_judge_a_name_without_its_address() -> None:
    assert OPEN.verdict("example.com", None, 443).question is Question.EXIT


@given(st.ip_addresses(v=4), st.integers(1, 65535))
def test_an_ipv4_mapped_address_is_judged_as_its_ipv4_address(ip: IPv4Address, port: int) -> None:
    policy = replace(OPEN, exit_policy=Exit(lambda ip, port: int(ip) % 3 > 0 and port % 2 > 0))
    mapped = policy.verdict(None, IPv6Address(0xFFFF << 32 | int(ip)), port)
    plain = policy.verdict(None, ip, port)
    assert (mapped.allowed, mapped.question) == (plain.allowed, plain.question)


CARRIERS = {
    "NAT64": lambda v: 0x64FF9B << 96 | v,
    "6to4": lambda v: 0x2002 << 112 | v << 80 | 1,
    "Teredo server": lambda v: 0x20010000 << 96 | v << 64 | (0x08080808 ^ 0xFFFFFFFF),
    "Teredo client": lambda v: 0x20010000 << 96 | 0x08080808 << 64 | (v ^ 0xFFFFFFFF),
    "ISATAP": lambda v: 0x26064700 << 96 | 0x5EFE << 32 | v,
}


@pytest.mark.parametrize("carrier", CARRIERS)
@given(ip=st.ip_addresses(v=4), port=st.integers(1, 65535))
def test_an_address_that_carries_a_refused_one_is_refused(
    carrier: str, ip: IPv4Address, port: int
) -> None:
    policy = replace(
        OPEN, exit_policy=Exit(lambda ip, port: ip.version == 6 or int(ip) % 3 > 0 or port < 1024)
    )
    carried = policy.verdict(None, IPv6Address(CARRIERS[carrier](int(ip))), port)
    if not policy.verdict(None, ip, port).allowed:
        assert not carried.allowed


@pytest.mark.parametrize("carrier", CARRIERS)
def test_an_address_that_carries_an_allowed_one_is_judged_itself_too(carrier: str) -> None:
    ip = IPv6Address(CARRIERS[carrier](int(PUBLIC)))
    assert OPEN.verdict(None, ip, 443).allowed
    only_ipv4 = replace(OPEN, exit_policy=Exit(lambda ip, port: ip.version == 4))
    assert only_ipv4.verdict(None, ip, 443).question is Question.EXIT


@pytest.mark.parametrize(
    "ip",
    ["127.0.0.1", "10.0.0.1", "192.0.2.77", "169.254.169.254", "::1", "fe80::1", "64:ff9b::7f00:1"],
)
def test_internal_addresses_are_refused_whatever_the_policies_say(ip: str) -> None:
    verdict = OPEN.verdict("rebinding.test", ip_address(ip), 80)
    assert not verdict.allowed
    assert verdict.question is Question.ADDRESS
    assert "nothing opens" in verdict.reason


def test_an_exception_opens_its_network_and_no_more() -> None:
    policy = replace(OPEN, exceptions=(ip_network("127.80.0.0/16"),))
    assert policy.verdict(None, ip_address("127.80.1.1"), 80).allowed
    assert policy.verdict(None, ip_address("::ffff:127.80.1.1"), 80).allowed
    assert not policy.verdict(None, ip_address("127.79.255.255"), 80).allowed
    assert not policy.verdict(None, ip_address("127.81.0.0"), 80).allowed
    assert not policy.verdict(None, ip_address("127.0.0.1"), 80).allowed


def test_an_exception_passes_the_first_question_only() -> None:
    policy = replace(
        OPEN,
        exceptions=(ip_network("127.80.0.0/16"),),
        exit_policy=Exit(lambda ip, port: port == 80),
        rules=EgressRules.parse(["127.80.1.1:*"]),
    )
    assert policy.verdict(None, ip_address("127.80.1.1"), 80).allowed
    assert policy.verdict(None, ip_address("127.80.1.1"), 81).question is Question.EXIT
    assert policy.verdict(None, ip_address("127.80.1.2"), 80).question is Question.MANIFEST


def test_the_boxs_own_addresses_and_tors_ports_stay_shut_even_in_an_exception() -> None:
    own, other = ip_address("127.80.0.9"), ip_address("127.80.0.10")
    policy = replace(
        OPEN,
        exceptions=(ip_network("127.80.0.0/16"),),
        own_addresses=frozenset((own, PUBLIC)),
        closed=frozenset(((other, 9051),)),
    )
    assert "the box itself" in policy.verdict(None, own, 80).reason
    assert "the box itself" in policy.verdict(None, PUBLIC, 443).reason
    assert "a port of tor" in policy.verdict(None, other, 9051).reason
    assert policy.verdict(None, other, 9052).allowed
    through_nat64 = IPv6Address(0x64FF9B << 96 | int(PUBLIC))
    assert "the box itself" in policy.verdict(None, through_nat64, 443).reason


def test_a_refusal_by_the_exit_policy_says_what_its_operator_could_do() -> None:
    policy = replace(OPEN, exit_policy=Exit(lambda ip, port: port != 25))
    verdict = policy.verdict("mail.test", PUBLIC, 25)
    assert verdict.question is Question.EXIT
    assert "exit policy" in verdict.reason
    assert "ExitPolicy accept 93.184.216.34:25" in verdict.reason
    six = policy.verdict(None, ip_address("2606:4700::1"), 25)
    assert "ExitPolicy accept [2606:4700::1]:25" in six.reason


def test_a_refusal_by_the_manifest_says_which_entry_would_allow_it() -> None:
    policy = OPEN.with_rules(EgressRules.parse(["other.test:443"]))
    for name, ip, entry in (
        ("example.com", PUBLIC, '"example.com:443"'),
        (None, PUBLIC, '"93.184.216.34:443"'),
        (None, ip_address("2606:4700::1"), '"[2606:4700::1]:443"'),
    ):
        verdict = policy.verdict(name, ip, 443)
        assert verdict.question is Question.MANIFEST
        assert entry in verdict.reason
        allowed = policy.with_rules(EgressRules.parse([entry.strip('"')]))
        assert allowed.verdict(name, ip, 443).allowed


def test_without_an_exit_policy_the_other_two_questions_remain() -> None:
    """Egress through Tor: another relay's exit policy decides."""
    policy = EgressPolicy(rules=EgressRules.parse(["*:443"]), exit_policy=None)
    assert policy.verdict("example.com", None, 443).allowed
    assert policy.verdict("example.com", None, 80).question is Question.MANIFEST
    assert policy.verdict(None, ip_address("10.0.0.1"), 443).question is Question.ADDRESS


@pytest.mark.parametrize(
    "name",
    ["localhost", "a.localhost", "printer.local", "metadata.google.internal", "x.$F.exit", "exit"],
)
def test_names_of_this_machine_or_site_are_refused_before_they_are_looked_up(name: str) -> None:
    assert OPEN.may_resolve(name, 80).question is Question.ADDRESS
    assert OPEN.verdict(name, None, 80).question is Question.ADDRESS
    assert not OPEN.verdict(name, PUBLIC, 80).allowed


def test_a_name_outside_the_manifest_is_not_looked_up() -> None:
    policy = OPEN.with_rules(EgressRules.parse(["example.com:443"]))
    assert policy.may_resolve("example.com", 443).allowed
    assert policy.may_resolve("secret.evil.test", 443).question is Question.MANIFEST


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_no_port_but_a_real_one_is_allowed(port: int) -> None:
    assert OPEN.verdict(None, PUBLIC, port).question is Question.ADDRESS


def test_a_verdict_needs_a_destination() -> None:
    with pytest.raises(ValueError, match="name or an address"):
        OPEN.verdict(None, None, 80)


RELAY = ip_address("93.184.216.99")
LISTED = OrPorts.parse(
    f"a {RELAY}:9001\na [2606:4700::9]:443\na 10.0.0.1:443\na 127.77.0.5:9001\n"
    "a 9.9.9.9:9001\na [64:ff9b::a00:1]:9001\n"
)
SHUT = Exit(lambda ip, port: False)
RELAYS = EgressPolicy(exit_policy=SHUT, or_ports=LISTED, relays=True)


def test_with_relays_the_consensus_orports_are_reached_whatever_the_exit_policy_says() -> None:
    assert RELAYS.verdict(None, RELAY, 9001).allowed
    assert RELAYS.verdict(None, ip_address(f"::ffff:{RELAY}"), 9001).allowed
    assert RELAYS.verdict(None, ip_address("2606:4700::9"), 443).allowed


@given(st.ip_addresses(), st.integers(1, 65535))
def test_with_relays_nothing_else_is_reached_that_was_not_before(
    ip: IPv4Address | IPv6Address, port: int
) -> None:
    for usual in (RELAYS, replace(OPEN, or_ports=LISTED, relays=True)):
        without = replace(usual, relays=False)
        if not LISTED.have(ip, port):
            assert usual.verdict(None, ip, port).allowed == without.verdict(None, ip, port).allowed
        assert usual.verdict("a.test", ip, port) == without.verdict("a.test", ip, port)


def test_a_relay_is_reached_by_its_address_only_and_by_no_name() -> None:
    assert not RELAYS.verdict("relay.test", RELAY, 9001).allowed
    assert not RELAYS.may_resolve("relay.test", 9001).allowed
    assert not RELAYS.verdict(None, RELAY, 9002).allowed
    assert not RELAYS.verdict(None, PUBLIC, 9001).allowed


@pytest.mark.parametrize(
    ("ip", "port"),
    [("10.0.0.1", 443), ("127.77.0.5", 9001), ("64:ff9b::a00:1", 9001), ("9.9.9.9", 9001)],
)
def test_a_consensus_opens_no_internal_address_and_none_of_the_box(ip: str, port: int) -> None:
    own = replace(RELAYS, own_addresses=frozenset({ip_address("9.9.9.9")}))
    verdict = own.verdict(None, ip_address(ip), port)
    assert (verdict.allowed, verdict.question) == (False, Question.ADDRESS)


def test_the_test_networks_relays_are_an_exception_for_orports_only() -> None:
    policy = replace(RELAYS, relay_exceptions=(ip_network("127.77.0.0/16"),))
    assert policy.verdict(None, ip_address("127.77.0.5"), 9001).allowed
    assert not policy.verdict(None, ip_address("127.77.0.5"), 9002).allowed
    assert not policy.verdict(None, ip_address("10.0.0.1"), 443).allowed
    everything = replace(policy, rules=EVERYTHING, exit_policy=OPEN.exit_policy)
    assert not everything.verdict(None, ip_address("127.77.0.5"), 80).allowed


def test_refusals_say_what_relays_has_to_do_with_them() -> None:
    assert "nor is it a relay's ORPort" in RELAYS.verdict(None, PUBLIC, 9001).reason
    without = replace(RELAYS, relays=False)
    assert "relays = true would allow it" in without.verdict(None, RELAY, 9001).reason
    assert "relay" not in without.verdict(None, PUBLIC, 443).reason.replace("this relay's", "")
