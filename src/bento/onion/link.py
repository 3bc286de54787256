"""The link handshake as a client makes it, without a socket (tor-spec 4, "in-protocol").

    us                                  relay
    VERSIONS            ->
                        <-              VERSIONS
                        <-              CERTS            (certs.check: the whole table there)
    NETINFO             ->
                        <-              AUTH_CHALLENGE   (clients do not answer it)
                        <-              NETINFO          established

Invariants: before `established` nothing but these cells (and padding) is accepted, each once and
in this order; no circuit can exist before the relay has proved who it is.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from bento.errors import RemoteProtocolError
from bento.onion import cells, certs, netinfo
from bento.onion.cells import Cell, Command, RelayRun
from bento.onion.certs import RelayIdentity
from bento.onion.wire import Reader

_CHALLENGE_BYTES = 32


class LinkState(Enum):
    """What the handshake waits for."""

    VERSIONS = auto()
    CERTS = auto()
    CHALLENGE_OR_NETINFO = auto()
    NETINFO = auto()
    ESTABLISHED = auto()
    FAILED = auto()


_PADDING_COMMANDS = frozenset({Command.PADDING, Command.VPADDING})


class LinkHandshake:
    """One handshake. `now` gives seconds since 1970, `tls_certificate` is the relay's, in DER."""

    def __init__(
        self,
        peer: netinfo.Address,
        tls_certificate: bytes,
        now: Callable[[], float],
        expected: RelayIdentity | None = None,
    ) -> None:
        self.state = LinkState.VERSIONS
        self.version = 0
        self.identity: RelayIdentity | None = None
        self.clock_skew = 0.0  # seconds the relay is ahead of us
        self.seen_as: netinfo.Address | None = None
        self._peer = peer
        self._tls_certificate = tls_certificate
        self._now = now
        self._expected = expected

    @property
    def established(self) -> bool:
        return self.state is LinkState.ESTABLISHED

    def start(self) -> bytes:
        """The first bytes to send."""
        return cells.pack_versions()

    def receive(self, cell: Cell | RelayRun) -> bytes:
        """Takes the relay's next cell; the bytes to answer. RemoteProtocolError ends the link."""
        try:
            return self._receive(cell)
        except RemoteProtocolError:
            self.state = LinkState.FAILED
            raise

    def _receive(self, cell: Cell | RelayRun) -> bytes:
        if isinstance(cell, RelayRun):
            raise RemoteProtocolError("the relay sent circuit cells before its handshake was done")
        if cell.command in _PADDING_COMMANDS and self.state is not LinkState.VERSIONS:
            return b""
        handler = _TRANSITIONS.get((self.state, cell.command))
        if handler is None:
            raise RemoteProtocolError(
                f"the relay sent cell {cell.command} while {self.state.name} was due"
            )
        if cell.circuit:
            raise RemoteProtocolError("a handshake cell names a circuit")
        return handler(self, cell.body)

    def _versions(self, body: bytes) -> bytes:
        common = (cells.parse_versions(body) & set(cells.LINK_VERSIONS_OFFERED)) or frozenset()
        self.version = max(common, default=0)
        if self.version not in cells.LINK_VERSIONS_SPOKEN:
            raise RemoteProtocolError("the relay speaks no link protocol that we speak (4, 5)")
        self.state = LinkState.CERTS
        return b""

    def _certs(self, body: bytes) -> bytes:
        self.identity = certs.check(body, self._tls_certificate, self._now(), self._expected)
        self.state = LinkState.CHALLENGE_OR_NETINFO
        return cells.pack(0, Command.NETINFO, netinfo.pack_for_client(self._peer))

    def _challenge(self, body: bytes) -> bytes:
        reader = Reader(body, "the AUTH_CHALLENGE cell")
        reader.take(_CHALLENGE_BYTES)
        reader.take(2 * reader.uint(2))
        self.state = LinkState.NETINFO
        return b""

    def _netinfo(self, body: bytes) -> bytes:
        said = netinfo.parse(body)
        self.clock_skew = said.timestamp - self._now() if said.timestamp else 0.0
        self.seen_as = said.seen_as
        self.state = LinkState.ESTABLISHED
        return b""


_TRANSITIONS: dict[tuple[LinkState, int], Callable[[LinkHandshake, bytes], bytes]] = {
    (LinkState.VERSIONS, Command.VERSIONS): LinkHandshake._versions,
    (LinkState.CERTS, Command.CERTS): LinkHandshake._certs,
    (LinkState.CHALLENGE_OR_NETINFO, Command.AUTH_CHALLENGE): LinkHandshake._challenge,
    (LinkState.CHALLENGE_OR_NETINFO, Command.NETINFO): LinkHandshake._netinfo,
    (LinkState.NETINFO, Command.NETINFO): LinkHandshake._netinfo,
}
