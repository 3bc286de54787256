"""What the operator's commands ask a running bentod, and its answers: one JSON object a line each."""

from __future__ import annotations

from typing import Literal

import msgspec

MAX_LINE = 1 << 20
"""Bytes; the largest answer, ten thousand instances, has about 4 MB and is not expected."""

Do = Literal["top", "kill", "block", "unblock", "drain", "resume"]


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`name` is an instance to kill, or the hash of a function (64 hex digits) to block."""

    do: Do
    name: str = ""


class Row(msgspec.Struct, frozen=True):
    """One instance. Bytes and seconds; `refused` counts what egress and the firewall refused."""

    id: str
    image: str
    function: str
    expires: int
    cpu_seconds: float
    memory: int
    bytes_in: int
    bytes_out: int
    network_in: int
    network_out: int
    connections: int
    sessions: int
    refused: int


class Top(msgspec.Struct, frozen=True):
    """The box. `refused` counts requests that were turned away since bentod started."""

    name: str
    capacity: int
    load: int
    draining: bool
    refused: int
    blocked: tuple[str, ...]
    instances: tuple[Row, ...]


class Done(msgspec.Struct, frozen=True):
    """`ended` instances by an order; `running` are left."""

    ended: int = 0
    running: int = 0


class Failure(msgspec.Struct, frozen=True):
    """A `BentoError` on its way to the command."""

    kind: str
    detail: str
    hint: str = ""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the three."""

    top: Top | None = None
    done: Done | None = None
    failure: Failure | None = None
