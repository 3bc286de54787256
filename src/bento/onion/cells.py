"""Link cells: what travels between two neighbours inside TLS (tor-spec 3, link protocols 4 and 5).

    bytes -> CellReader -> Cell | RelayRun

Invariants: any bytes give cells or RemoteProtocolError; the cells do not depend on how the bytes
were cut; at most one incomplete cell is kept (65,542 bytes). RELAY cells that stand together come
out as one `RelayRun` for each circuit: all hops are then peeled off the whole run at once, which
is what makes Python as fast as C here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from bento.errors import LocalProtocolError, RemoteProtocolError
from bento.onion.wire import Rows

BODY_BYTES = 509  # the body of a fixed cell
CELL_BYTES = 514  # circuit id (4), command (1), body
CIRCUIT_ID_TOP_BIT = 0x8000_0000  # set by whoever opened the connection (link >= 4)
LINK_VERSIONS_OFFERED = (3, 4, 5)  # what C-tor 0.4.9 offers; 3 is offered but never spoken
LINK_VERSIONS_SPOKEN = frozenset({4, 5})

_HEAD = struct.Struct(">IB")
_VARIABLE_HEAD = struct.Struct(">IBH")
_FIRST_HEAD = struct.Struct(">HBH")  # before VERSIONS is settled, circuit ids have two bytes
_PADDING = bytes(BODY_BYTES)
_BODIES = Rows(f"{BODY_BYTES}s")
_CELLS = Rows(f"{_HEAD.size}x{BODY_BYTES}s")


class Command(IntEnum):
    """Commands of link cells (tor-spec 3)."""

    PADDING = 0
    CREATE = 1
    CREATED = 2
    RELAY = 3
    DESTROY = 4
    CREATE_FAST = 5
    CREATED_FAST = 6
    VERSIONS = 7
    NETINFO = 8
    RELAY_EARLY = 9
    CREATE2 = 10
    CREATED2 = 11
    PADDING_NEGOTIATE = 12
    VPADDING = 128
    CERTS = 129
    AUTH_CHALLENGE = 130
    AUTHENTICATE = 131
    AUTHORIZE = 132


class DestroyReason(IntEnum):
    """Why a circuit ended (tor-spec 5.4)."""

    NONE = 0
    PROTOCOL = 1
    INTERNAL = 2
    REQUESTED = 3
    HIBERNATING = 4
    RESOURCELIMIT = 5
    CONNECTFAILED = 6
    OR_IDENTITY = 7
    CHANNEL_CLOSED = 8
    FINISHED = 9
    TIMEOUT = 10
    DESTROYED = 11
    NOSUCHSERVICE = 12


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: a fixed body has 509 bytes, a variable one up to 65,535."""

    circuit: int
    command: int
    body: bytes


@dataclass(frozen=True, slots=True)
class RelayRun:
    """RELAY cells of one circuit that arrived together: `len(bodies) // 509` of them, in order."""

    circuit: int
    bodies: bytes


def is_variable(command: int) -> bool:
    """Whether cells of this command carry their own length (tor-spec 3)."""
    return command == Command.VERSIONS or command >= Command.VPADDING


def pack(circuit: int, command: int, body: bytes = b"") -> bytes:
    """One cell of link protocol 4 or 5; a short fixed body is padded with zeros.

    Raises LocalProtocolError for a body that does not fit.
    """
    if is_variable(command):
        if len(body) > 0xFFFF:
            raise LocalProtocolError(f"a cell body of {len(body)} bytes does not fit")
        return _VARIABLE_HEAD.pack(circuit, command, len(body)) + body
    if len(body) > BODY_BYTES:
        raise LocalProtocolError(f"a fixed cell body of {len(body)} bytes does not fit")
    return _HEAD.pack(circuit, command) + body + _PADDING[len(body) :]


def pack_run(circuit: int, bodies: bytes) -> bytes:
    """RELAY cells of one circuit; `bodies` is a whole number of 509-byte bodies."""
    head = _HEAD.pack(circuit, Command.RELAY)
    return head + head.join(_BODIES.cut(bodies))


def pack_versions(versions: tuple[int, ...] = LINK_VERSIONS_OFFERED) -> bytes:
    """The first cell of a connection, still with a two-byte circuit id."""
    body = struct.pack(f">{len(versions)}H", *versions)
    return _FIRST_HEAD.pack(0, Command.VERSIONS, len(body)) + body


def parse_versions(body: bytes) -> frozenset[int]:
    """The versions in a VERSIONS body; an odd length is refused, as C-tor does."""
    if len(body) % 2:
        raise RemoteProtocolError("the VERSIONS cell has an odd length")
    return frozenset(struct.unpack(f">{len(body) // 2}H", body))


class CellReader:
    """Cuts a TLS byte stream into cells. The first cell must be VERSIONS."""

    def __init__(self) -> None:
        self._buffer = b""
        self._versions_seen = False

    def feed(self, data: bytes) -> list[Cell | RelayRun]:
        """The cells completed by `data`; RemoteProtocolError ends the connection."""
        buffer = self._buffer + data if self._buffer else data
        found: list[Cell | RelayRun] = []
        at = 0 if self._versions_seen else self._first(buffer, found)
        end = len(buffer)
        while end - at >= _HEAD.size and self._versions_seen:
            size = self._next(buffer, at, found)
            if not size:
                break
            at += size
        self._buffer = buffer[at:]
        return found

    def _first(self, buffer: bytes, found: list[Cell | RelayRun]) -> int:
        if len(buffer) >= 3 and buffer[2] != Command.VERSIONS:
            raise RemoteProtocolError("the peer does not begin with VERSIONS")
        if len(buffer) < _FIRST_HEAD.size:
            return 0
        circuit, command, length = _FIRST_HEAD.unpack_from(buffer)
        end: int = _FIRST_HEAD.size + length
        if len(buffer) < end:
            return 0
        self._versions_seen = True
        found.append(Cell(circuit, command, buffer[_FIRST_HEAD.size : end]))
        return end

    def _next(self, buffer: bytes, at: int, found: list[Cell | RelayRun]) -> int:
        """Reads one cell, or a run of RELAY cells; the bytes used, 0 when more are needed."""
        circuit, command = _HEAD.unpack_from(buffer, at)
        if is_variable(command):
            return self._variable(buffer, at, found)
        whole = (len(buffer) - at) // CELL_BYTES
        if not whole:
            return 0
        if command != Command.RELAY:
            found.append(Cell(circuit, command, buffer[at + _HEAD.size : at + CELL_BYTES]))
            return CELL_BYTES
        commands = buffer[at + 4 : at + whole * CELL_BYTES : CELL_BYTES]
        run = whole - len(commands.lstrip(b"\x03"))
        found.extend(_bucket(buffer, at, run))
        return run * CELL_BYTES

    def _variable(self, buffer: bytes, at: int, found: list[Cell | RelayRun]) -> int:
        if len(buffer) - at < _VARIABLE_HEAD.size:
            return 0
        circuit, command, length = _VARIABLE_HEAD.unpack_from(buffer, at)
        size: int = _VARIABLE_HEAD.size + length
        if len(buffer) - at < size:
            return 0
        found.append(Cell(circuit, command, buffer[at + _VARIABLE_HEAD.size : at + size]))
        return size


def _bucket(buffer: bytes, at: int, run: int) -> list[RelayRun]:
    """Sorts a run of RELAY cells by circuit; the order inside each circuit is kept."""
    first = buffer[at : at + 4]
    end = at + run * CELL_BYTES
    if all(buffer[at + n : end : CELL_BYTES] == first[n : n + 1] * run for n in range(4)):
        bodies = b"".join(_CELLS.cut(buffer[at:end]))
        return [RelayRun(int.from_bytes(first, "big"), bodies)]
    by_circuit: dict[bytes, list[bytes]] = {}
    for start in range(at, end, CELL_BYTES):
        circuit = buffer[start : start + 4]
        body = buffer[start + 5 : start + CELL_BYTES]
        by_circuit.setdefault(circuit, []).append(body)
    return [
        RelayRun(int.from_bytes(circuit, "big"), b"".join(bodies))
        for circuit, bodies in by_circuit.items()
    ]
