"""Which endpoints are relays' ORPorts: exactly what the consensus lists, and nothing from broken lines."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.egress import OrPorts
from bento.egress import or_ports as module

ENTRIES = """\
r one AAAAAAAAAAAAAAAAAAAAAAAAAAA 2038-01-01 00:00:00 1.2.3.4 9001 9030
a [2a01:4f8::7]:9002
s Fast Guard Running Stable V2Dir Valid
w Bandwidth=12
r two BBBBBBBBBBBBBBBBBBBBBBBBBBB CCCCCCCCCCCCCCCCCCCCCCCCCCC 2038-01-01 00:00:00 5.6.7.8 443 0
s Running Valid
"""


def test_both_flavours_and_both_families_are_read():
    listed = OrPorts.parse(ENTRIES)
    assert len(listed) == 3
    for address, port in (("1.2.3.4", 9001), ("5.6.7.8", 443), ("2a01:4f8::7", 9002)):
        assert listed.have(ip_address(address), port)


def test_neither_another_port_nor_another_address_nor_a_dirport_is_among_them():
    listed = OrPorts.parse(ENTRIES)
    for address, port in (("1.2.3.4", 9030), ("1.2.3.4", 443), ("1.2.3.5", 9001), ("::1", 9002)):
        assert not listed.have(ip_address(address), port)


def test_an_ipv4_address_in_ipv6_clothes_is_the_same_place():
    assert OrPorts.parse(ENTRIES).have(ip_address("::ffff:1.2.3.4"), 9001)
    assert OrPorts.parse("a [::ffff:9.9.9.9]:1\n").have(ip_address("9.9.9.9"), 1)


@pytest.mark.parametrize(
    "line",
    [
        "r name id 2038-01-01 00:00:00 1.2.3.4 0 0",
        "r name id 2038-01-01 00:00:00 1.2.3.4 70000 0",
        "r name id 2038-01-01 00:00:00 1.2.3.4 ٣ 0",
        "r name id 2038-01-01 00:00:00 1.2.3 9001 0",
        "r name id extra words 2038-01-01 00:00:00 1.2.3.4 9001 0",
        "a 2a01:4f8::7:9001",
        "a [fe80::1%eth0]:9001x",
        "a [1.2.3.4]:9001",
        "a",
        "r",
        "x 1.2.3.4:9001",
    ],
)
def test_what_cannot_be_read_is_nobodys_orport(line):
    assert len(OrPorts.parse(line + "\n")) == 0
    assert len(OrPorts.parse(f"{line}\n{ENTRIES}")) == 3, "nor does it hide the others"


@given(st.text(alphabet=st.sampled_from("ra []:.0123456789f\n-\r"), max_size=200) | st.text())
def test_any_text_is_read(text):
    assert len(OrPorts.parse(text)) <= text.count("\n") + text.count("\r") + len(text.splitlines())


@given(st.lists(st.tuples(st.ip_addresses(), st.integers(1, 65535)), max_size=20))
def test_the_list_has_what_was_written_into_it_and_no_more(endpoints):
    text = "".join(_line(ip, port) for ip, port in endpoints)
    listed = OrPorts.parse(text)
    assert len(listed) <= len(endpoints)
    for ip, port in endpoints:
        assert listed.have(ip, port)
        assert listed.have(ip, port ^ 1) == any(
            OrPorts.parse(_line(*other)).have(ip, port ^ 1) for other in endpoints
        )


def test_a_list_without_end_takes_bounded_memory(monkeypatch):
    monkeypatch.setattr(module, "MAX_OR_PORTS", 10)
    assert len(OrPorts.parse("".join(f"a 1.2.3.4:{port}\n" for port in range(1, 100)))) == 10


def _line(ip: IPv4Address | IPv6Address, port: int) -> str:
    return f"a [{ip}]:{port}\n" if ip.version == 6 else f"a {ip}:{port}\n"
