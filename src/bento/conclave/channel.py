"""The client's side of the attested channel. Sans-IO.

    HANDSHAKE -> ASKED -> OPEN -> CLOSED        ASKED -> REFUSED

TLS 1.3 ends in the guest; the client's nonce goes out with the handshake's last flight, evidence
comes back, and only a verdict that accepts it opens the channel: two round trips, then the
function may be uploaded. Invariant: no byte of the user's leaves before OPEN; after REFUSED no
byte leaves at all. The box in between sees TLS records of padded frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bento.conclave import binding, framing
from bento.conclave.appraise import Roots, appraise, check_binding
from bento.conclave.channel_guest import EVIDENCE_HEAD
from bento.conclave.evidence import MAX_EVIDENCE, Evidence
from bento.conclave.tls import Tls
from bento.conclave.trust import Session, TrustPolicy, Verdict, evaluate
from bento.errors import AttestationError, LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

HANDSHAKE, ASKED, OPEN, CLOSED, REFUSED = range(5)
_POST_QUANTUM: Final = "MLKEM"  # in the name of every hybrid group, e.g. X25519MLKEM768


class Judge:
    """Decides on evidence for one session: verifiers, binding and trust policy in one call."""

    def __init__(
        self,
        policy: TrustPolicy,
        clock: Callable[[], float],
        roots: Roots | None = None,
        published: frozenset[str] = frozenset(),
    ) -> None:
        """`clock` gives seconds since 1970; the evidence's age counts from here."""
        self._policy, self._roots, self._published = policy, roots, published
        self._clock, self._asked = clock, clock()
        self.verdict: Verdict | None = None
        """The last one, accepting or not; None where evidence does not even verify."""

    def __call__(self, evidence: bytes, expected: bytes, *, post_quantum: bool) -> Verdict:
        """The accepting verdict. Raises AttestationError, which names what is wrong."""
        now = self._clock()
        claims = appraise(Evidence.decode(evidence), now=int(now), roots=self._roots)
        check_binding(claims, expected)
        session = Session(age=int(now - self._asked), post_quantum=post_quantum)
        self.verdict = evaluate(
            self._policy, claims, now=int(now), session=session, published=self._published
        )
        self.verdict.require()
        return self.verdict


class ClientChannel:
    """One session with a conclave. `identity` and `manifest_hash` are what the client expects."""

    def __init__(self, judge: Judge, identity: bytes, manifest_hash: bytes, nonce: bytes) -> None:
        """`nonce`: 32 fresh random bytes."""
        if len(nonce) != binding.NONCE_SIZE:
            raise LocalProtocolError("a nonce has 32 bytes")
        self._judge = judge
        self._identity, self._manifest_hash, self._nonce = identity, manifest_hash, nonce
        self._tls = Tls()
        self._frames = framing.FrameReader()
        self._evidence = bytearray()
        self._state = HANDSHAKE
        self.verdict: Verdict | None = None
        self._tls.start()

    @property
    def open(self) -> bool:
        """Evidence was accepted: `send` may be used."""
        return self._state == OPEN

    @property
    def closed(self) -> bool:
        """The guest said that nothing more follows. An end without this is a cut."""
        return self._state == CLOSED

    @property
    def exporter(self) -> bytes:
        """A value of this very channel that only its two ends know."""
        return self._tls.exporter()

    @property
    def group(self) -> str:
        """The key exchange of this session, e.g. "X25519MLKEM768"."""
        return self._tls.group

    def receive(self, data: bytes) -> list[bytes]:
        """Bytes from the wire -> payloads of the function.

        Raises AttestationError if the evidence is refused, RemoteProtocolError for nonsense; the
        channel is dead after either.
        """
        if self._state == REFUSED:
            raise LocalProtocolError("this channel was refused")
        try:
            return self._receive(data)
        except (AttestationError, RemoteProtocolError):
            self._state = REFUSED
            raise

    def _receive(self, data: bytes) -> list[bytes]:
        plain = self._tls.feed(data)
        if self._state == HANDSHAKE and self._tls.established:
            self._tls.write(framing.encode(framing.ATTEST, self._nonce))
            self._state = ASKED
        payloads = []
        for kind, payload in self._frames.feed(plain):
            if kind == framing.EVIDENCE and self._state == ASKED:
                self._collect(payload)
            elif kind == framing.DATA and self._state == OPEN:
                payloads.append(payload)
            elif kind == framing.CLOSE and self._state == OPEN:
                self._state = CLOSED
            else:
                raise RemoteProtocolError("the guest sent a frame out of turn")
        return payloads

    def _collect(self, piece: bytes) -> None:
        self._evidence += piece
        if len(self._evidence) < EVIDENCE_HEAD.size:
            raise RemoteProtocolError("the guest's evidence is malformed")
        (size,) = EVIDENCE_HEAD.unpack_from(self._evidence)
        have = len(self._evidence) - EVIDENCE_HEAD.size
        if size > MAX_EVIDENCE or have > size or (have < size and not piece):
            raise RemoteProtocolError("the guest's evidence is malformed")
        if have == size:
            self._decide(bytes(self._evidence[EVIDENCE_HEAD.size :]))

    def _decide(self, evidence: bytes) -> None:
        expected = binding.report_data(
            self._nonce,
            self._tls.guest_spki(),
            self._tls.exporter(),
            self._identity,
            self._manifest_hash,
        )
        post_quantum = _POST_QUANTUM in self.group.upper()
        self.verdict = self._judge(evidence, expected, post_quantum=post_quantum)
        self._state = OPEN

    def send(self, payload: bytes) -> None:
        """Data for the function. Raises LocalProtocolError before evidence was accepted."""
        if self._state != OPEN:
            raise LocalProtocolError("nothing is sent before the conclave's evidence is accepted")
        for piece in framing.split(payload):
            self._tls.write(framing.encode(framing.DATA, piece))

    def finish(self) -> None:
        """Tell the guest that nothing more follows."""
        if self._state in (OPEN, CLOSED):
            self._tls.write(framing.encode(framing.CLOSE, b""))
            self._tls.finish()

    def outgoing(self) -> bytes:
        """Bytes for the wire; none once refused."""
        return b"" if self._state == REFUSED else self._tls.outgoing()
