"""What a trust policy answers: accepted or not, why not, and the facts it saw."""

from __future__ import annotations

from dataclasses import dataclass

from bento.errors import AttestationError


@dataclass(frozen=True, slots=True)
class Session:
    """What the channel knows: seconds since the client drew its nonce, and the key exchange."""

    age: int
    post_quantum: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """One rule's objection: the line of the policy it stands on, and why."""

    line: str
    reason: str

    def __str__(self) -> str:
        return f"{self.reason} [{self.line}]"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A policy's answer. `facts` are shown in full by `bento attest`, `summary` is one line."""

    summary: str
    facts: tuple[tuple[str, str], ...]
    refusals: tuple[Refusal, ...]

    @property
    def vendor(self) -> str:
        """Whose hardware it is about; empty where there is none."""
        return dict(self.facts).get("vendor", "")

    @property
    def accepted(self) -> bool:
        return not self.refusals

    def require(self) -> None:
        """Raise AttestationError, naming every refusal, unless accepted."""
        if self.refusals:
            raise AttestationError(
                "the trust policy refuses this conclave: " + "; ".join(map(str, self.refusals)),
                "the bracket names the line of the trust policy that decides; nothing was uploaded",
            )
