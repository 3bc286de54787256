"""What a supervisor is asked and answers, on its unix socket: one JSON object a line.

`watch` is answered by steps until the network is usable, then by its status, or by what went
wrong. `down` is answered when everything has ended. The folder of the socket is private to its
user, so whoever can ask may ask.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from bento.errors import KINDS, BentoError, HostError

MAX_LINE = 1 << 16
"""Bytes. A status of the largest network, 60 boxes, has about 12 KB."""


Do = Literal["status", "watch", "down"]


class BoxStatus(msgspec.Struct, frozen=True):
    """One box; a process that is being started again has no id."""

    name: str
    fingerprint: str
    onion: str
    bentod_pid: int | None
    tor_pid: int | None


class Status(msgspec.Struct, frozen=True):
    """The network as `bento testnet status --json` shows it. `socks` is the plain client's."""

    ready: bool = False
    socks: str = ""
    boxes: tuple[BoxStatus, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """What a network that starts is waiting for: `done` of `total` of `what`."""

    what: str
    done: int
    total: int


class Failure(msgspec.Struct, frozen=True):
    """A `BentoError` on its way to another process."""

    kind: str
    detail: str
    hint: str = ""

    @classmethod
    def of(cls, error: BentoError) -> Failure:
        return cls(error.kind, error.detail, error.hint)

    def error(self) -> BentoError:
        return KINDS.get(self.kind, HostError)(self.detail, self.hint)


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    do: Do


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of `step`, `status` and `failure`; beside a status the size of the network."""

    step: Step | None = None
    status: Status | None = None
    failure: Failure | None = None
    boxes: int = 0
    relays: int = 0
    delay_ms: float = 0.0


def encode(message: Ask | Answer) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def decode_ask(line: bytes) -> Ask:
    """Raises `ValueError` (msgspec's errors are) for anything else."""
    return msgspec.json.decode(line, type=Ask)


def decode_answer(line: bytes) -> Answer:
    """Raises HostError if it is none."""
    try:
        return msgspec.json.decode(line, type=Answer)
    except ValueError:
        raise HostError("the supervisor of the test network gave no sense") from None
