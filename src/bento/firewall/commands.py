"""The commands the firewall understands, as values, and how each is written for tor.

Invariant: `line()` builds a command from typed fields only; nothing a function wrote is copied.
Canonical: parsing what `line()` wrote gives an equal value.
"""

from __future__ import annotations

from dataclasses import dataclass

from bento.firewall import limits


@dataclass(frozen=True, slots=True)
class ProtocolInfo:
    pass


@dataclass(frozen=True, slots=True)
class Authenticate:
    """What it was authenticated with is not kept."""


@dataclass(frozen=True, slots=True)
class Quit:
    pass


@dataclass(frozen=True, slots=True)
class UseFeature:
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GetConf:
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetConf:
    """`__LeaveStreamsUnattached` is the one option there is; RESETCONF gives False."""

    leave_unattached: bool


@dataclass(frozen=True, slots=True)
class GetInfo:
    """`keys` in canonical form, `asked` as the function wrote them: its answer must echo those."""

    keys: tuple[str, ...]
    asked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetEvents:
    events: tuple[str, ...]

    def line(self) -> str:
        return " ".join(("SETEVENTS", *self.events))


@dataclass(frozen=True, slots=True)
class ExtendCircuit:
    """`circuit` 0 asks for a new one; an empty `path` lets tor choose it."""

    circuit: int
    path: tuple[str, ...]
    purpose: str = ""

    def line(self) -> str:
        words = ["EXTENDCIRCUIT", str(self.circuit)]
        if self.path:
            words.append(",".join(f"${fingerprint}" for fingerprint in self.path))
        if self.purpose:
            words.append(f"purpose={self.purpose}")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class SetCircuitPurpose:
    """The firewall's own: takes a circuit whose path tor chose out of tor's use for streams."""

    circuit: int

    def line(self) -> str:
        return f"SETCIRCUITPURPOSE {self.circuit} purpose=controller"


@dataclass(frozen=True, slots=True)
class CloseCircuit:
    circuit: int
    if_unused: bool = False

    def line(self) -> str:
        return f"CLOSECIRCUIT {self.circuit}{' IfUnused' if self.if_unused else ''}"


@dataclass(frozen=True, slots=True)
class AttachStream:
    """`circuit` 0 gives the stream to tor."""

    stream: int
    circuit: int

    def line(self) -> str:
        return f"ATTACHSTREAM {self.stream} {self.circuit}"


@dataclass(frozen=True, slots=True)
class CloseStream:
    stream: int
    reason: int

    def line(self) -> str:
        return f"CLOSESTREAM {self.stream} {self.reason}"


class ServiceKey:
    """The secret key of an onion service, in tor's base64 form. Never shown."""

    __slots__ = ("_base64",)

    def __init__(self, base64_text: str) -> None:
        self._base64 = base64_text

    def __repr__(self) -> str:
        return "<ServiceKey>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServiceKey) and self._base64 == other._base64

    def __hash__(self) -> int:
        return hash(self._base64)

    def for_tor(self) -> str:
        return f"ED25519-V3:{self._base64}"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A virtual port and the target as the function wrote it, as a TCP port of the sandbox.

    `target` None stands for the function's own socket.
    """

    virtual: int
    target: int | None


@dataclass(frozen=True, slots=True)
class AddOnion:
    """What a function asks for. `line` needs the targets that the box chose."""

    key: ServiceKey | None
    ports: tuple[ServicePort, ...]
    discard_key: bool
    max_streams: int
    client_keys: tuple[str, ...] = ()

    def line(self, targets: tuple[str, ...]) -> str:
        """`targets` are socket paths of the box, one for each port."""
        flags = ["DiscardPK"] if self.discard_key and self.key is None else []
        flags += ["MaxStreamsCloseCircuit"] + (["V3Auth"] if self.client_keys else [])
        words = [
            "ADD_ONION",
            "NEW:ED25519-V3" if self.key is None else self.key.for_tor(),
            "Flags=" + ",".join(flags),
            f"MaxStreams={self.max_streams}",
            "PoWDefensesEnabled=1",
            f"PoWQueueRate={limits.POW_QUEUE_RATE}",
            f"PoWQueueBurst={limits.POW_QUEUE_BURST}",
        ]
        for port, target in zip(self.ports, targets, strict=True):
            words.append(f"Port={port.virtual},unix:{target}")
        words += [f"ClientAuthV3={key}" for key in self.client_keys]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class DelOnion:
    address: str

    def line(self) -> str:
        return f"DEL_ONION {self.address}"


@dataclass(frozen=True, slots=True)
class HsFetch:
    address: str
    servers: tuple[str, ...] = ()

    def line(self) -> str:
        return " ".join(("HSFETCH", self.address, *(f"SERVER=${s}" for s in self.servers)))


@dataclass(frozen=True, slots=True)
class HsPost:
    address: str
    descriptor: bytes
    servers: tuple[str, ...] = ()

    def line(self) -> str:
        named = (f"SERVER=${fingerprint}" for fingerprint in self.servers)
        return " ".join(("HSPOST", *named, f"HSADDRESS={self.address}"))


Command = (
    ProtocolInfo
    | Authenticate
    | Quit
    | UseFeature
    | GetConf
    | SetConf
    | GetInfo
    | SetEvents
    | ExtendCircuit
    | CloseCircuit
    | AttachStream
    | CloseStream
    | AddOnion
    | DelOnion
    | HsFetch
    | HsPost
)
