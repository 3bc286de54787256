"""Every error Bento raises on purpose, by the place where the fault lies.

    BentoError
      UsageError        the caller asked for something that makes no sense
      HostError         this machine: disk, permissions, a missing program
      TorError          tor, or the way through the Tor network
      BoxError          the box refused or failed
        BusyError         the box is loaded: pay, wait, or go elsewhere
      FunctionError     the user's function failed
      PolicyError       a manifest is not within a policy
      AttestationError  evidence was missing or not acceptable
      ProtocolError
        LocalProtocolError    we misused the protocol: a bug on this side
        RemoteProtocolError   the peer sent something the protocol forbids

An error is one plain sentence (`detail`), a way out (`hint`, may be empty) and a `kind` that
names the place; each kind has an exit status of its own which never changes.
Imported inside the sandbox too: no imports here.
"""

from __future__ import annotations


class BentoError(Exception):
    """The base of the tree. `detail` is one sentence, `hint` says what to do next."""

    kind = "bento"
    exit_status = 1

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.detail} ({self.hint})" if self.hint else self.detail


class UsageError(BentoError):
    kind = "usage"
    exit_status = 2


class HostError(BentoError):
    kind = "host"
    exit_status = 10


class TorError(BentoError):
    kind = "tor"
    exit_status = 11


class BoxError(BentoError):
    kind = "box"
    exit_status = 12


class BusyError(BoxError):
    """`wait` is seconds until asking again makes sense; `quote` a protocol.puzzle.Quote, the price
    for which the box does it now, or None; `cards` the issuers whose passes it honours."""

    kind = "busy"
    exit_status = 17

    def __init__(
        self, detail: str, hint: str = "", *, wait: int = 0, quote: object | None = None
    ) -> None:
        super().__init__(detail, hint)
        self.wait = wait
        self.quote = quote
        self.cards: tuple[str, ...] = ()


class FunctionError(BentoError):
    kind = "function"
    exit_status = 13


class PolicyError(BentoError):
    kind = "policy"
    exit_status = 14


class AttestationError(BentoError):
    kind = "attestation"
    exit_status = 15


class ProtocolError(BentoError):
    kind = "protocol"
    exit_status = 16


class LocalProtocolError(ProtocolError):
    kind = "protocol-local"


class RemoteProtocolError(ProtocolError):
    kind = "protocol-remote"


KINDS: dict[str, type[BentoError]] = {
    cls.kind: cls
    for cls in (
        UsageError,
        HostError,
        TorError,
        BoxError,
        BusyError,
        FunctionError,
        PolicyError,
        AttestationError,
        LocalProtocolError,
        RemoteProtocolError,
    )
}
