"""Who is in the private network, at which address, with which files. Pure: nothing is touched.

Every node has a loopback address of its own, `127.NET.0.k`, and all nodes use the same ports,
so no two clash and a descriptor shows at once which node it describes. Addresses of one role
lie in one block: adding a box moves nobody else.

Everything that must be kept lies under `data` (so that the next start is warm), everything
that must not (sockets, process table) under `run`, a short path: a unix socket's is limited to
107 bytes (unix(7)).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bento.errors import UsageError

WEB = "127.80.0.0/16"
"""What counts as "the web" here: exits and boxes reach any port there, and nothing else."""

OR_PORT = 9001
INNER_OR_PORT = 9101
"""Where a relay really listens when a forwarder with delay stands at `OR_PORT`."""
DIR_PORT = 9030
SOCKS_PORT = 9050
BOX_PORT = 5000
"""The circuit entrance of a box, at the address of its own relay."""

EXITS = 2
FEWEST_RELAYS = 2
"""With the authority and two exits enough for every path of three, and of four to an onion."""
MOST_RELAYS = 100
MOST_BOXES = 60
LONGEST_DELAY_MS = 1000.0
"""A circuit of four then takes 20 s to build; above it tor's time limits are what is measured."""

NET_NUMBERS = tuple(n for n in range(77, 120) if n != 80)
"""Second byte of the network's addresses, in order of preference; 80 is the web."""


class Role(Enum):
    """What a tor process is for."""

    AUTHORITY = "authority"
    RELAY = "relay"
    EXIT = "exit"
    BOX = "box"
    FUNCTIONS = "functions"
    CLIENT = "client"
    USER = "user"

    @property
    def is_server(self) -> bool:
        """True for those which are in the consensus."""
        return self in _SERVERS


_SERVERS = frozenset({Role.AUTHORITY, Role.RELAY, Role.EXIT, Role.BOX})
_FIRST_HOST = {Role.AUTHORITY: 1, Role.EXIT: 5, Role.BOX: 10, Role.RELAY: 100, Role.CLIENT: 250}


@dataclass(frozen=True)
class Size:
    """How large the network is, as the user asks for it. Raises `UsageError`."""

    boxes: int = 3
    relays: int = 4
    delay_ms: float = 0.0

    def __post_init__(self) -> None:
        _within("--boxes", self.boxes, 0, MOST_BOXES)
        _within("--relays", self.relays, FEWEST_RELAYS, MOST_RELAYS)
        _within("--delay-ms", self.delay_ms, 0, LONGEST_DELAY_MS)


def _within(what: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UsageError(f"{what} {value:g} is not between {least:g} and {most:g}")


@dataclass(frozen=True)
class Node:
    """One tor process. `address` is empty for a tor that others cannot reach."""

    name: str
    role: Role
    address: str
    data: Path
    control: Path
    socks: Path

    @property
    def control_endpoint(self) -> str:
        return f"unix:{self.control}"

    @property
    def socks_endpoint(self) -> str:
        """`HOST:PORT` for the plain client, a unix socket for the others."""
        return f"{self.address}:{SOCKS_PORT}" if self.role is Role.CLIENT else f"unix:{self.socks}"


@dataclass(frozen=True)
class Box:
    """A relay, a second tor for functions, and the files of the `bentod` beside them."""

    relay: Node
    functions: Node
    config: Path
    state: Path
    run: Path

    @property
    def name(self) -> str:
        return self.relay.name


def emulated(data: Path) -> Path:
    """Where the network of the folder `data` keeps its emulated maker of processors."""
    return data / "emulated"


@dataclass(frozen=True)
class Layout:
    """The whole network. `net` is the second byte of its addresses."""

    size: Size
    net: int
    data: Path
    run: Path

    @property
    def authority(self) -> Node:
        return self._node("auth", Role.AUTHORITY)

    @property
    def client(self) -> Node:
        """The plain client: a C-tor with nothing of Bento's."""
        return self._node("client", Role.CLIENT)

    @property
    def user(self) -> Node:
        """The tor that bento's own commands drive."""
        return self._node("user", Role.USER)

    @property
    def boxes(self) -> tuple[Box, ...]:
        return tuple(self._box(i) for i in range(self.size.boxes))

    @property
    def servers(self) -> tuple[Node, ...]:
        """Every node that is in the consensus, the authority first."""
        return (
            self.authority,
            *(self._node(f"relay{i}", Role.RELAY, i) for i in range(self.size.relays)),
            *(self._node(f"exit{i}", Role.EXIT, i) for i in range(EXITS)),
            *(box.relay for box in self.boxes),
        )

    @property
    def clients(self) -> tuple[Node, ...]:
        return (self.user, self.client, *(box.functions for box in self.boxes))

    @property
    def emulated(self) -> Path:
        """The maker of the boxes' emulated platforms: its root is what a client must name."""
        return emulated(self.data)

    @property
    def resolv_conf(self) -> Path:
        """The resolver file of the relays, which names `resolver`."""
        return self.data / "resolv.conf"

    @property
    def resolver(self) -> str:
        """An address where nothing answers: no name may be asked for outside this machine."""
        return f"127.{self.net}.0.254"

    @property
    def delayed(self) -> bool:
        return self.size.delay_ms > 0

    def listeners(self) -> Iterator[tuple[str, int]]:
        """Every TCP address that the network listens on."""
        for node in self.servers:
            yield node.address, OR_PORT
            if self.delayed:
                yield node.address, INNER_OR_PORT
        yield self.authority.address, DIR_PORT
        yield self.client.address, SOCKS_PORT
        for box in self.boxes:
            yield box.relay.address, BOX_PORT

    def _box(self, index: int) -> Box:
        name = f"box{index}"
        home = self.data / name / "bentod"
        return Box(
            relay=self._node(name, Role.BOX, index),
            functions=self._node(f"{name}-functions", Role.FUNCTIONS, data=f"{name}/functions"),
            config=home / "bentod.toml",
            state=home / "state",
            run=self.run / name,
        )

    def _node(self, name: str, role: Role, index: int = 0, *, data: str = "") -> Node:
        first = _FIRST_HOST.get(role)
        return Node(
            name=name,
            role=role,
            address="" if first is None else f"127.{self.net}.0.{first + index}",
            data=self.data / (data or f"{name}/tor"),
            control=self.run / f"{name}.control",
            socks=self.run / f"{name}.socks",
        )


def require_loopback(addresses: Iterable[str]) -> None:
    """Refuse every address that is not one of 127.0.0.0/8. Raises `UsageError`.

    Called with all addresses of a network before its first process starts: a private network
    must not be able to reach, or be reached from, another machine.
    """
    for address in addresses:
        try:
            loopback = ipaddress.IPv4Address(address).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise UsageError(f"the test network may use loopback addresses only, not {address!r}")
