"""Exit policies mean here what they mean to tor."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Iterator

import pytest
import stem.exit_policy
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import TorError, UsageError
from bento.tor.controller import Controller
from bento.tor.exit_policy import MAX_RULES, PRIVATE_NETWORKS, ExitPolicy, IPAddress, Rule
from bento.tor.process import TorProcess

PORTS = st.integers(1, 65535)
ADDRESSES_4 = st.ip_addresses(v=4).map(str)
ADDRESSES_6 = st.ip_addresses(v=6).map(str)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    version = draw(st.sampled_from([4, 6]))
    width = {4: 32, 6: 128}[version]
    first = draw(PORTS)
    return Rule(
        accept=draw(st.booleans()),
        version=version,
        network=draw(st.integers(0, 2**width - 1)),
        bits=draw(st.integers(0, width)),
        first_port=first,
        last_port=draw(st.integers(first, 65535)),
    )


def meaning(policy: ExitPolicy) -> list[tuple[object, ...]]:
    """Rules without the address bits that their mask hides."""
    width = {4: 32, 6: 128}
    return [
        (r.accept, r.version, r.network >> (width[r.version] - r.bits), r.bits)
        + (r.first_port, r.last_port)
        for r in policy.rules
    ]


# -- rules -----------------------------------------------------------------------------------------


def test_the_first_rule_that_covers_address_and_port_decides():
    policy = ExitPolicy.parse("reject 10.0.0.0/8:*, accept 10.1.2.3:80, accept *:80-90, reject *:*")
    assert not policy.allows("10.1.2.3", 80)
    assert policy.allows("192.0.2.1", 80)
    assert policy.allows("192.0.2.1", 90)
    assert not policy.allows("192.0.2.1", 91)


@pytest.mark.parametrize(
    ("text", "address", "allowed"),
    [
        ("accept *:*", "192.0.2.1", True),
        ("accept *:*", "2001:db8::1", False),
        ("accept6 *:*", "2001:db8::1", True),
        ("accept6 *:*", "192.0.2.1", False),
        ("accept 192.0.2.0/24:*", "192.0.2.255", True),
        ("accept 192.0.2.0/255.255.255.0:*", "192.0.2.255", True),
        ("accept 192.0.2.9/24:*", "192.0.2.1", True),
        ("accept 192.0.2.0/24:*", "192.0.3.0", False),
        ("accept 192.0.2.1", "192.0.2.1", True),
        ("accept6 [2001:db8::]/32:*", "2001:db8:ffff::1", True),
        ("accept6 [2001:db8::]/32:*", "2001:db9::", False),
        ("accept 1.2.3.4/0:*", "192.0.2.1", True),
        ("accept *:*", "0.0.0.0", False),
        ("accept6 *:*", "::", False),
        ("accept 192.0.2.1:*", "::ffff:192.0.2.1", False),
        ("accept *:0-80", "192.0.2.1", True),
    ],
)
def test_addresses_in_the_dialect_of_descriptors(text, address, allowed):
    assert ExitPolicy.parse(text).allows(address, 80) is allowed


@pytest.mark.parametrize(
    ("text", "v4", "v6"),
    [
        ("accept *:*", True, True),
        ("accept *4:*", True, False),
        ("accept *6:*", False, True),
        ("accept6 *:*", False, True),
        ("accept6 *4:*", False, False),
        ("accept6 192.0.2.1:*", False, False),
        ("reject private:*, accept *:*", True, True),
    ],
)
def test_wildcards_in_the_dialect_of_torrc(text, v4, v6):
    policy = ExitPolicy.parse(text, torrc=True)
    assert (policy.allows("192.0.2.1", 80), policy.allows("2001:db8::1", 80)) == (v4, v6)


def test_private_stands_for_tor_s_list():
    policy = ExitPolicy.parse("reject private:*, accept *:*", torrc=True)
    for network in PRIVATE_NETWORKS:
        inside = ipaddress.ip_network(network.replace("[", "").replace("]", ""))[1]
        assert not policy.allows(inside, 80)


def test_private_for_version_6_alone_is_left_out_as_tor_does():
    policy = ExitPolicy.parse("reject6 private:*, accept *:*", torrc=True)
    assert policy.allows("10.0.0.1", 80)
    assert policy.allows("fd00::1", 80)


def test_what_no_rule_covers_is_refused():
    assert not ExitPolicy().allows("192.0.2.1", 80)
    assert not ExitPolicy.parse("").allows("192.0.2.1", 80)
    assert not ExitPolicy.parse("reject *:25").allows("192.0.2.1", 80)


# -- text ------------------------------------------------------------------------------------------


@given(st.lists(rules(), max_size=10))
def test_a_policy_is_read_back_as_it_was_written(listed):
    policy = ExitPolicy(tuple(listed))
    mapped = any(r.version == 6 and r.network >> 32 == 0xFFFF for r in listed)
    if not mapped:  # tor reads such masks in a way of its own
        assert meaning(ExitPolicy.parse(str(policy))) == meaning(policy)


@given(st.text(st.sampled_from("acceptrj6 *4.0123[]:/-,\n"), max_size=80) | st.text())
def test_any_text_is_a_policy_or_refused(text):
    for torrc in (False, True):
        try:
            policy = ExitPolicy.parse(text, torrc=torrc)
        except TorError:
            continue
        ExitPolicy.parse(str(policy))


@pytest.mark.parametrize(
    "text",
    [
        "accept",
        "accept *:80 *:81",
        "allow *:80",
        "Accept *:80",
        "accept *:99999",
        "accept *:80-",
        "accept *:90-80",
        "accept *:-80",
        "accept *:0",
        "accept *:+80",
        "accept *:٨٠",
        "accept */8:80",
        "accept *4:80",
        "accept 1.2.3:80",
        "accept 1.2.3.4.5:80",
        "accept 01.2.3.4:80",
        "accept 1.2.3.4/33:80",
        "accept 1.2.3.4/255.0.255.0:80",
        "accept 1.2.3.4/:80",
        "accept 2001:db8::1:80",
        "accept [2001:db8::1:80",
        "accept [2001:db8::1]x:80",
        "accept [fe80::1%eth0]:80",
        "accept [2001:db8::1]/129:80",
        "accept [::ffff:1.2.3.4]/64:80",
        "accept6 1.2.3.4:80",
        "reject private",
        "reject6 private:*",
        "accept " + " " * 200 + "*:80",
    ],
)
def test_what_tor_would_not_take_is_refused(text):
    with pytest.raises(TorError):
        ExitPolicy.parse(text)


def test_a_policy_has_a_bounded_number_of_rules():
    ExitPolicy.parse(["accept *:80"] * MAX_RULES)
    with pytest.raises(TorError):
        ExitPolicy.parse(["accept *:80"] * (MAX_RULES + 1))


@pytest.mark.parametrize(("address", "port"), [("a.test", 80), ("", 80), ("1.2.3.4", 0)])
def test_a_question_needs_an_address_and_a_port(address, port):
    with pytest.raises(UsageError):
        ExitPolicy.parse("accept *:*").allows(address, port)


# -- stem and a real tor as oracles ------------------------------------------------------------------


@given(st.lists(rules(), max_size=8), st.lists(ADDRESSES_4 | ADDRESSES_6, max_size=8), PORTS)
def test_verdicts_are_stem_s(listed, addresses, port):
    wildcards = ["reject *:*", "reject6 *:*"]
    ours = ExitPolicy.parse([*map(str, listed), *wildcards])
    # In stem's dialect a wildcard is any version, so ours are written out for it.
    theirs = stem.exit_policy.ExitPolicy(
        *[str(r).replace("*:", f"{_any(r.version)}/0:", 1) for r in listed], "reject *:*"
    )
    inside = [str(ipaddress.ip_address(_packed(r))) for r in listed]
    for address in [*addresses, *inside]:
        if int(ipaddress.ip_address(address)):
            assert ours.allows(address, port) == theirs.can_exit_to(address, port)


def _any(version: int) -> str:
    return "0.0.0.0" if version == 4 else "[::]"


def _packed(rule: Rule) -> bytes:
    return rule.network.to_bytes(4 if rule.version == 4 else 16, "big")


def random_torrc_rule(rng: random.Random) -> str:
    keyword = rng.choice(["accept", "reject", "accept6", "reject6"])
    address_4 = str(ipaddress.IPv4Address(rng.getrandbits(32)))
    address_6 = f"[{ipaddress.IPv6Address(rng.getrandbits(128))}]"
    mapped = f"[::ffff:{address_4}]"
    address = rng.choice(
        ["*", "*4", "*6", "private", address_4, f"{address_4}/{rng.randint(0, 32)}"]
        + [f"{address_4}/255.255.{rng.choice([0, 128, 240])}.0", address_6]
        + [f"{address_6}/{rng.randint(0, 128)}", mapped, f"{mapped}/{rng.choice([0, 8, 96, 128])}"]
    )
    first = rng.randint(0, 65535)
    last = rng.randint(max(first, 1), 65535)
    return f"{keyword} {address}:{rng.choice(['*', str(max(first, 1)), f'{first}-{last}'])}"


async def reported_policy(controller: Controller, written: list[str]) -> str:
    """Tor takes a policy at once and tells of it a second later."""
    await controller.set_conf({"ExitPolicy": written})
    while True:
        text = (await controller.get_info("exit-policy/full"))["exit-policy/full"]
        if text.startswith(written[0]):
            return text
        await asyncio.sleep(0.05)


def edges(policy: ExitPolicy, rng: random.Random) -> Iterator[tuple[IPAddress, int]]:
    """Addresses and ports at both sides of every border that a rule draws."""
    for rule in policy.rules:
        width = 32 if rule.version == 4 else 128
        hidden = (1 << (width - rule.bits)) - 1
        first, last = rule.network & ~hidden, rule.network | hidden
        make = ipaddress.IPv4Address if rule.version == 4 else ipaddress.IPv6Address
        for number in (first - 1, first, last, last + 1, rng.getrandbits(width)):
            for port in (rule.first_port - 1, rule.first_port, rule.last_port, rule.last_port + 1):
                if 0 <= number < 1 << width and 0 < port < 65536:
                    yield make(number), port


async def test_tor_reads_torrc_rules_as_we_do(short_folder):
    """800 random rules in five policies: what tor reports in its own dialect allows and refuses
    what we find in torrc's, at every border."""
    rng = random.Random(91)
    options = [
        ("SocksPort", "0"),
        ("ORPort", "127.91.255.1:9001 IPv4Only"),
        ("Address", "127.91.255.1"),
        ("AssumeReachable", "1"),
        ("TestingTorNetwork", "1"),
        ("DirAuthority", "x orport=1 no-v2 127.91.255.2:1 " + "F" * 40),
        ("ExitRelay", "1"),
        ("ExitPolicy", "reject *:*"),
        ("IPv6Exit", "1"),
        ("ExitPolicyRejectPrivate", "0"),
        ("ExitPolicyRejectLocalInterfaces", "0"),
    ]
    async with (
        TorProcess(options, short_folder / "tor", "relay") as tor,
        await tor.controller() as controller,
    ):
        for k in range(5):
            rules = [random_torrc_rule(rng) for _ in range(160)]
            # Tor leaves out rules that change nothing; these two it has to tell of.
            marks = [f"accept 192.0.2.99:{k + 1}", f"reject 192.0.2.98/31:{k + 1}"]
            written = [*marks, *rules, "reject *:*"]
            theirs = ExitPolicy.parse(await reported_policy(controller, written))
            ours = ExitPolicy.parse(written, torrc=True)
            for address, port in edges(ours, rng):
                verdicts = ours.allows(address, port), theirs.allows(address, port)
                assert verdicts[0] == verdicts[1], (address, port, written)
