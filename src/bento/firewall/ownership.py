"""Which circuits, streams, onion services and descriptor fetches are one function's.

tor keeps onion services apart by control connection, circuits and streams not at all: this table
does. Invariant: an object enters it only by an answer to this function's own command, or by an
event that carries this function's isolation key or the address of its own service; it leaves
with tor's last event about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from bento.firewall.isolation import is_owned
from bento.firewall.limits import FETCH_WINDOW, MAX_FETCHES, MAX_PROVED


class Origin(Enum):
    """How a circuit came to be the function's. It may extend and attach to what it MADE only."""

    MADE = "built by its EXTENDCIRCUIT"
    USED = "chosen by tor for its streams"
    SERVES = "built by tor for its onion service"


@dataclass(slots=True)
class Circuit:
    origin: Origin
    hops: int
    closing: bool = False


_UNATTACHED = 0
_CIRCUIT_ENDS = frozenset({"CLOSED", "FAILED"})
_STREAM_BEGINS = frozenset({"NEW", "NEWRESOLVE"})
_SERVICE_PURPOSE = "HS_SERVICE_"


class Ownership:
    """The objects of the function with isolation key `key`."""

    def __init__(self, key: str) -> None:
        self._key = key
        self.circuits: dict[int, Circuit] = {}
        self.streams: dict[int, int] = {}
        self._closing_streams: set[int] = set()
        self.services: set[str] = set()
        self.proved: set[str] = set()
        self._fetches: dict[str, float] = {}

    @property
    def made(self) -> list[int]:
        """The open circuits the function built."""
        return [n for n in self.circuits if self.made_circuit(n)]

    def circuit(self, number: int) -> Circuit | None:
        """A circuit of the function that it has not closed."""
        circuit = self.circuits.get(number)
        return None if circuit is None or circuit.closing else circuit

    def made_circuit(self, number: int) -> Circuit | None:
        """A circuit that the function built and has not closed."""
        circuit = self.circuit(number)
        return circuit if circuit is not None and circuit.origin is Origin.MADE else None

    def has_stream(self, number: int) -> bool:
        """Whether this is a stream of the function that it has not closed."""
        return number in self.streams and number not in self._closing_streams

    def close_circuit(self, number: int) -> None:
        """tor closes it; its last event is still to come and to be told."""
        self.circuits[number].closing = True

    def close_stream(self, number: int) -> None:
        """tor closes it; its last event is still to come and to be told."""
        self._closing_streams.add(number)

    def add_circuit(self, number: int, hops: int) -> None:
        """tor answered the function's EXTENDCIRCUIT with this number."""
        self.circuits[number] = Circuit(Origin.MADE, hops)

    def see_circuit(self, number: int, status: str, hops: int, keywords: Mapping[str, str]) -> bool:
        """Learn from a CIRC event or a circuit-status line; whether it is the function's."""
        circuit = self.circuits.get(number)
        if circuit is None:
            origin = self._origin(keywords)
            if origin is None:
                return False
            circuit = self.circuits[number] = Circuit(origin, hops)
        circuit.hops = max(circuit.hops, hops)
        if status in _CIRCUIT_ENDS:
            del self.circuits[number]
        return True

    def _origin(self, keywords: Mapping[str, str]) -> Origin | None:
        if is_owned(self._key, keywords.get("SOCKS_USERNAME")):
            return Origin.USED
        purpose, address = keywords.get("PURPOSE", ""), keywords.get("REND_QUERY")
        if purpose.startswith(_SERVICE_PURPOSE) and address in self.services:
            return Origin.SERVES
        return None

    def see_stream(self, number: int, status: str, circuit: int, username: str | None) -> bool:
        """Learn from a STREAM event or a stream-status line; whether it is the function's."""
        if number not in self.streams and not is_owned(self._key, username):
            return False
        if status == "CLOSED":
            self.streams.pop(number, None)
            self._closing_streams.discard(number)
        else:
            self.streams[number] = _UNATTACHED if status in _STREAM_BEGINS else circuit
        return True

    @property
    def unattached(self) -> list[int]:
        """Streams that wait for a circuit."""
        return [n for n, at in self.streams.items() if at == _UNATTACHED and self.has_stream(n)]

    def add_service(self, address: str, *, key_known: bool) -> None:
        """tor answered ADD_ONION; `key_known` if the function holds the secret key."""
        self.services.add(address)
        if key_known and len(self.proved) < MAX_PROVED:
            self.proved.add(address)

    def add_fetch(self, address: str, now: float) -> None:
        """The function asked for this descriptor: for a while its events are its business."""
        self._fetches = {a: end for a, end in self._fetches.items() if end > now}
        if len(self._fetches) < MAX_FETCHES:
            self._fetches[address] = now + FETCH_WINDOW

    def is_fetching(self, address: str, now: float) -> bool:
        return self._fetches.get(address, now) > now

    def end_fetch(self, address: str) -> None:
        self._fetches.pop(address, None)
