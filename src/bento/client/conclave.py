"""A conclave as its client sees it: the channel, the evidence, the verdict, and only then the function.

Nothing of the user's leaves before the trust policy has accepted the evidence; a refusal closes the
connection. The handshake's first message leaves with the request to the box, so attestation adds one
round trip to a new function and two to an installed one.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from bento.client.door import Pipe
from bento.client.holders import prove
from bento.conclave import runtime
from bento.conclave.appraise import Roots
from bento.conclave.binding import NONCE_SIZE
from bento.conclave.channel import ClientChannel, Judge
from bento.conclave.stream import AttestedStream
from bento.conclave.trust import TrustPolicy
from bento.errors import BoxError
from bento.guest import blob
from bento.protocol.caveats import ATTACH, INVOKE
from bento.protocol.session import Present
from bento.protocol.wire import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from bento.conclave.verdict import Verdict
    from bento.protocol.capability import Capability


@dataclass(frozen=True)
class Trust:
    """What a client accepts as a conclave: a policy, and roots beyond the vendors' own.

    `tell` is called with each accepting verdict, before anything is uploaded."""

    policy: TrustPolicy = field(default_factory=TrustPolicy)
    roots: Roots = field(default_factory=Roots)
    tell: Callable[[Verdict], None] = lambda verdict: None

    def judge(self) -> Judge:
        """Decides on one channel; the age of evidence counts from here."""
        return Judge(self.policy, time.time, self.roots, published())


@cache
def published() -> frozenset[str]:
    """The runtimes this release vouches for: what this installation itself would run."""
    return runtime.published(blob.sources(conclave=True))


@dataclass(frozen=True)
class Enclosed:
    """Which conclave is meant, and what is asked of it: `box` is the hash of the box's key, `terms`
    stands for the instance's manifest and function (protocol.conclave.terms_hash). `inner` is the
    token that the conclave itself checks; its owner needs none."""

    trust: Trust = field(repr=False)
    box: bytes
    terms: bytes
    inner: Capability | None = field(default=None, repr=False)

    def attest(self) -> Attestation:
        """A new channel to it."""
        return Attestation(self)


class Attestation:
    """One channel to a conclave, from the first message to the verdict."""

    def __init__(self, enclosed: Enclosed) -> None:
        self._trust = enclosed.trust
        self._inner = enclosed.inner
        nonce = os.urandom(NONCE_SIZE)
        self._judge = enclosed.trust.judge()
        self._channel = ClientChannel(self._judge, enclosed.box, enclosed.terms, nonce)
        self.hello = self._channel.outgoing()
        """Leaves together with the request to the box."""

    def present(self, session: bytes) -> bytes:
        """What goes before a request about the session of that tag, once the channel is open."""
        if self._inner is None:
            return b""
        proof = prove(self._inner, self._channel.exporter, INVOKE | ATTACH, session)
        return encode(Present(self._inner.encode(), proof))

    @property
    def verdict(self) -> Verdict | None:
        """Also one that refuses; None as long as no evidence has verified."""
        return self._judge.verdict

    async def over(self, pipe: Pipe) -> Pipe:
        """The pipe inside the channel. Raises AttestationError unless the policy accepts."""
        try:
            stream = await AttestedStream.open(pipe.reader, pipe.writer, self._channel, pipe.early)
        except OSError:
            raise BoxError(
                "the box hung up instead of giving evidence about the conclave",
                "its platform may be out of order; use another box",
            ) from None
        self._trust.tell(stream.verdict)
        return Pipe(stream, stream, b"")
