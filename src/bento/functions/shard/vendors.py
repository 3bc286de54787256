"""Whose hardware holds which shards, where they are kept in conclaves. Pure but for what it remembers.

A broken vendor's conclaves are lost all at once. So a trust policy with `distinct_vendors` lets no vendor
hold as many shards as bring the file back. A box's vendor is known only from its evidence: each conclave is
judged together with those that have their shard already, before anything is uploaded to it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bento.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bento.client.conclave import Trust
    from bento.conclave.verdict import Verdict


class Vendors:
    """The vendors of one file's boxes, by the number of their shard. Raises UsageError when no boxes
    could ever satisfy the policy."""

    def __init__(self, trust: Trust, need: int, total: int) -> None:
        self._trust = trust
        self._need = need
        self._total = total
        self._held: dict[int, str] = {}
        if self.strict and need == 1:
            raise UsageError(
                "each shard alone brings the file back, so every vendor would hold enough",
                "with distinct_vendors in the trust policy, --need is at least 2",
            )

    @property
    def strict(self) -> bool:
        """Whether the policy asks for several vendors."""
        return self._trust.policy.distinct_vendors

    def of(self, number: int) -> str:
        """The vendor whose hardware holds a shard; empty before evidence told."""
        return self._held.get(number, "")

    def trust(self, number: int, *, judged: bool = True) -> Trust:
        """The trust for the conclave of one shard: it refuses the vendor that would hold too much. Not
        `judged`, the vendor is only noted: the shard lies there already."""

        def tell(verdict: Verdict) -> None:
            if judged:
                self._judge({**self._held, number: verdict.vendor})
            self.note(number, verdict.vendor)
            self._trust.tell(verdict)

        return replace(self._trust, tell=tell)

    def note(self, number: int, vendor: str) -> None:
        """That vendor's hardware holds the shard."""
        self._held[number] = vendor

    def release(self, number: int) -> None:
        """Nobody holds the shard any more."""
        self._held.pop(number, None)

    def _judge(self, held: Mapping[int, str]) -> None:
        from bento.conclave.trust import evaluate_spread

        evaluate_spread(self._trust.policy, list(held.values()), self._need).require()

    def lacking(self) -> str:
        """What the boxes that were asked do not give, in one clause."""
        missing = f"{self._total - len(self._held)} of {self._total} shards found no conclave"
        if not self.strict:
            return f"{missing} that the trust policy accepts"
        wanted = -(-self._total // (self._need - 1))
        found = ", ".join(sorted(set(self._held.values()))) or "none"
        return (
            f"{missing}: where any {self._need} bring the file back, distinct_vendors asks for "
            f"{wanted} vendors, and those accepted were: {found}"
        )
