"""Link cells: any bytes parse or raise the declared error, whole or byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.onion import cells
from bento.onion.cells import BODY_BYTES, Cell, CellReader, Command, RelayRun

circuits = st.integers(0, 0xFFFF_FFFF)
fixed = st.builds(
    cells.pack,
    circuits,
    st.integers(0, 127).filter(lambda c: c != Command.VERSIONS),
    st.binary(max_size=BODY_BYTES),
)
relays = st.builds(
    lambda circuit, body: cells.pack(circuit, Command.RELAY, body),
    st.integers(1, 3),
    st.binary(min_size=BODY_BYTES, max_size=BODY_BYTES),
)
variable = st.builds(
    cells.pack,
    circuits,
    st.integers(128, 255),
    st.binary(max_size=300),
)
streams = st.lists(st.one_of(fixed, relays, relays, variable), max_size=12).map(
    lambda parts: cells.pack_versions() + b"".join(parts)
)


def flat(found: list[Cell | RelayRun]) -> dict[int, list[tuple[int, bytes]]]:
    """What each circuit saw, in order, whatever the batches were."""
    seen: dict[int, list[tuple[int, bytes]]] = {}
    for item in found:
        row = seen.setdefault(item.circuit, [])
        if isinstance(item, Cell):
            row.append((item.command, item.body))
        else:
            assert len(item.bodies) % BODY_BYTES == 0
            for at in range(0, len(item.bodies), BODY_BYTES):
                row.append((Command.RELAY, item.bodies[at : at + BODY_BYTES]))
    return seen


def read(chunks: list[bytes]) -> dict[int, list[tuple[int, bytes]]]:
    reader = CellReader()
    return flat([item for chunk in chunks for item in reader.feed(chunk)])


@given(streams)
def test_whole_and_byte_by_byte_give_the_same_cells(data: bytes) -> None:
    assert read([data]) == read([data[i : i + 1] for i in range(len(data))])


@given(st.binary(max_size=3000), st.booleans())
def test_any_bytes_parse_or_raise_the_declared_error(data: bytes, after_versions: bool) -> None:
    if after_versions:
        data = cells.pack_versions() + data
    outcomes = []
    for chunks in ([data], [data[i : i + 1] for i in range(len(data))]):
        try:
            outcomes.append(read(chunks))
        except RemoteProtocolError as error:
            outcomes.append(error.detail)
    assert outcomes[0] == outcomes[1]


def test_a_peer_that_does_not_begin_with_versions_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="VERSIONS"):
        CellReader().feed(b"\x00\x00\x08\x00\x00")


def test_relay_cells_that_arrive_together_are_one_run_per_circuit() -> None:
    reader = CellReader()
    reader.feed(cells.pack_versions())
    bodies = [bytes([n]) * BODY_BYTES for n in range(6)]
    data = b"".join(cells.pack(7 + n % 2, Command.RELAY, body) for n, body in enumerate(bodies))
    assert reader.feed(data) == [
        RelayRun(7, b"".join(bodies[0::2])),
        RelayRun(8, b"".join(bodies[1::2])),
    ]


def test_a_destroy_stays_behind_the_relay_cells_before_it() -> None:
    reader = CellReader()
    reader.feed(cells.pack_versions())
    body = bytes(BODY_BYTES)
    data = cells.pack_run(7, body * 2) + cells.pack(7, Command.DESTROY, b"\x05")
    run, destroy = reader.feed(data)
    assert run == RelayRun(7, body * 2)
    assert isinstance(destroy, Cell)
    assert destroy.command == Command.DESTROY


@given(circuits, st.integers(1, 5))
def test_a_packed_run_is_that_many_single_cells(circuit: int, count: int) -> None:
    bodies = bytes(range(256)) * 2 * count
    bodies = bodies[: BODY_BYTES * count]
    single = b"".join(
        cells.pack(circuit, Command.RELAY, bodies[i * BODY_BYTES : (i + 1) * BODY_BYTES])
        for i in range(count)
    )
    assert cells.pack_run(circuit, bodies) == single


def test_bodies_that_do_not_fit_are_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError):
        cells.pack(1, Command.RELAY, bytes(BODY_BYTES + 1))
    with pytest.raises(LocalProtocolError):
        cells.pack(1, Command.VPADDING, bytes(0x10000))


def test_versions_are_offered_as_c_tor_offers_them() -> None:
    assert cells.pack_versions().hex() == "0000070006000300040005"
    assert cells.parse_versions(bytes.fromhex("000300040005")) == {3, 4, 5}
    with pytest.raises(RemoteProtocolError, match="odd"):
        cells.parse_versions(b"\0\4\0")
