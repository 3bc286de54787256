"""The link handshake as a playbook: cells in, bytes out, everything else refused."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.onion.fakes import NOW, TLS_CERTIFICATE, FakeIdentity, certs_body

from bento.errors import RemoteProtocolError
from bento.onion import cells, netinfo
from bento.onion.cells import Cell, CellReader, Command, RelayRun
from bento.onion.link import LinkHandshake, LinkState

RELAY = FakeIdentity()
PEER = ipaddress.ip_address("198.51.100.7")
VERSIONS = Cell(0, Command.VERSIONS, b"\0\3\0\4\0\5")
CERTS = Cell(0, Command.CERTS, certs_body(RELAY.parts()))
CHALLENGE = Cell(0, Command.AUTH_CHALLENGE, bytes(32) + b"\0\2\0\1\0\3")
NETINFO_BODY = (int(NOW) + 90).to_bytes(4, "big") + b"\4\4\xcb\0\x71\5" + b"\1\4\4\xc6\x33\x64\7"
NETINFO = Cell(0, Command.NETINFO, NETINFO_BODY + bytes(509 - len(NETINFO_BODY)))


def handshake(expected=None) -> LinkHandshake:
    return LinkHandshake(PEER, TLS_CERTIFICATE, lambda: NOW, expected)


def test_the_handshake_of_c_tor() -> None:
    link = handshake(RELAY.identity)
    assert link.start() == cells.pack_versions()
    assert link.receive(VERSIONS) == b""
    answer = link.receive(CERTS)
    assert answer == cells.pack(0, Command.NETINFO, bytes(4) + b"\4\4\xc6\x33\x64\7\0")
    assert link.receive(CHALLENGE) == b""
    assert not link.established
    assert link.receive(NETINFO) == b""
    assert link.established
    assert (link.version, link.identity, link.clock_skew) == (5, RELAY.identity, 90)
    assert link.seen_as == ipaddress.ip_address("203.0.113.5")


def test_padding_may_stand_between_the_cells() -> None:
    link = handshake()
    for cell in (VERSIONS, Cell(0, Command.VPADDING, b"xyz"), CERTS, NETINFO):
        link.receive(cell)
    assert link.established


def test_a_relay_that_speaks_only_old_links_is_refused() -> None:
    for body in (b"\0\3", b"\0\1\0\2", b"", b"\0\6"):
        with pytest.raises(RemoteProtocolError, match="speaks no link protocol"):
            handshake().receive(Cell(0, Command.VERSIONS, body))


ORDER = [VERSIONS, CERTS, CHALLENGE, NETINFO]
WRONG = {
    0: [CERTS, CHALLENGE, NETINFO],
    1: [VERSIONS, CHALLENGE, NETINFO],
    2: [VERSIONS, CERTS],
    3: [VERSIONS, CERTS, CHALLENGE],
}


@pytest.mark.parametrize(("done", "wrong"), [(d, w) for d, row in WRONG.items() for w in row])
def test_a_cell_out_of_order_ends_the_link(done: int, wrong: Cell) -> None:
    link = handshake()
    for cell in ORDER[:done]:
        link.receive(cell)
    with pytest.raises(RemoteProtocolError, match="was due"):
        link.receive(wrong)
    assert link.state is LinkState.FAILED
    with pytest.raises(RemoteProtocolError):
        link.receive(NETINFO)


@pytest.mark.parametrize("command", [Command.CREATED2, Command.DESTROY, Command.CREATE2])
def test_no_circuit_cell_before_the_relay_proved_who_it_is(command: int) -> None:
    link = handshake()
    link.receive(VERSIONS)
    with pytest.raises(RemoteProtocolError):
        link.receive(Cell(0x80000001, command, bytes(509)))
    with pytest.raises(RemoteProtocolError):
        handshake().receive(RelayRun(1, bytes(509)))


def test_a_handshake_cell_on_a_circuit_is_refused() -> None:
    link = handshake()
    link.receive(VERSIONS)
    with pytest.raises(RemoteProtocolError, match="names a circuit"):
        link.receive(Cell(5, Command.CERTS, CERTS.body))


def test_unknown_addresses_in_netinfo_are_skipped() -> None:
    said = netinfo.parse(
        bytes(4) + b"\7\2ab" + b"\3" + b"\4\3abc" + b"\6\x10" + bytes(16) + b"\4\4\1\2\3\4"
    )
    assert said.seen_as is None
    assert said.own == (ipaddress.ip_address("::"), ipaddress.ip_address("1.2.3.4"))


@given(st.lists(st.tuples(st.sampled_from([7, 8, 129, 130, 0, 128, 3, 4]), st.binary(max_size=80))))
def test_any_cells_are_a_handshake_or_the_declared_error(script) -> None:
    link = handshake()
    try:
        for command, body in script:
            link.receive(Cell(0, command, body))
    except RemoteProtocolError:
        pass
    assert not link.established or link.identity is not None


@given(st.binary(max_size=509))
def test_any_bytes_are_a_netinfo_or_the_declared_error(body: bytes) -> None:
    try:
        netinfo.parse(body)
    except RemoteProtocolError:
        pass


def test_the_answer_survives_its_own_reader() -> None:
    link = handshake()
    link.receive(VERSIONS)
    reader = CellReader()
    reader.feed(cells.pack_versions())
    (cell,) = reader.feed(link.receive(CERTS))
    assert netinfo.parse(cell.body).seen_as == PEER


def test_padding_negotiation_bodies() -> None:
    assert netinfo.pack_padding_stop() == b"\0\1\0\0\0\0"
    assert netinfo.pack_padding_start(1500, 9500) == b"\0\2" + bytes.fromhex("05dc251c")
