"""A guest inside a conclave: each session's channel ends in here, and each channel is attested.

Only a conclave's blob holds this module. What makes channels and sealed storage is not the guest's own
but given to it by name (`inside`), so that the guest needs no cryptography anywhere else.
Invariant: a client's byte reaches a session only out of a channel that evidence was given about. The
box speaks for the platform; a box that comes back after a restart is asked again what is open.
"""

from __future__ import annotations

import sys

from bento.errors import RemoteProtocolError
from bento.guest.connection import ControlConnection, SessionConnection
from bento.guest.inner import Inner, not_granted
from bento.protocol import caveats, control, session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from bento.guest.runtime import Runtime
    from bento.protocol.wire import Message

    class Inside(Protocol):
        """What the named module offers as `Inside()`."""

        def socket(
            self, sock: Any, identity: bytes, terms: bytes, ask: Callable[[bytes], None]
        ) -> Any: ...

        def to_box(self, sock: Any, key_hash: bytes, early: bytes) -> Any: ...

        def seal(self, below: str, shown: str) -> None: ...

        def signed(self, key: bytes, proof: bytes, message: bytes) -> bool: ...


LIBRARIES = "/conclave"  # where the sandbox shows the libraries of the named module
_NUMBERS = 1 << 32
_AT_ONCE = 8  # questions that the box has not answered
_OPERATIONS = {control.MAY_INVOKE: caveats.INVOKE, control.MAY_ATTACH: caveats.ATTACH}


def enclose(name: str, folder: str) -> Enclosure:
    """The walls of the conclave whose channels `name` makes; `folder` will hold sealed files."""
    sys.path.append(LIBRARIES)
    __import__(name)
    inside: Inside = sys.modules[name].Inside()
    inside.seal(f"{folder}/sealed", f"{folder}/data")
    return Enclosure(inside)


class EnclosedConnection(SessionConnection):
    """A session's connection whose socket is the end of a channel."""

    def __init__(self, sock: Any, runtime: Runtime, opening: bytes) -> None:
        super().__init__(sock, runtime, opening)
        self._presented: session.Present | None = None

    @property
    def blocked(self) -> bool:
        return self.waiting > 0 or self.sock.pending > 0

    def flush(self) -> None:
        try:
            self.sock.flush()
        except OSError:
            self.close()
            return
        super().flush()

    def readable(self) -> None:
        super().readable()
        self.runtime.watch(self)  # the handshake's own bytes may wait for the socket

    def handle(self, message: Message) -> None:
        if isinstance(message, session.Present):
            self._presented = message
        else:
            super().handle(message)

    def uses(self, right: int, name: bytes) -> tuple[set[bytes], ...]:
        """The owner may do everything; anyone else what the conclave's own token allows."""
        if self.owner:
            return ()
        shown, inner = self._presented, self.runtime.enclosure.inner  # type: ignore[union-attr]
        if shown is None or inner is None:
            raise not_granted()
        tag, operation = session.session_tag(name), _OPERATIONS[right]
        return inner.admit(shown.token, shown.proof, self.sock.exporter, operation, tag)

    def report_loaded(self) -> None:
        inner = self.runtime.enclosure.inner  # type: ignore[union-attr]
        if self.owner and inner is not None:
            self.queue(session.Granted(inner.grant()))
        super().report_loaded()

    def attested(self, evidence: bytes) -> None:
        """The platform's answer about this channel; without one the connection ends."""
        if not evidence:
            self.close()
            return
        try:
            self.sock.answer(evidence)
        except OSError:
            self.close()
            return
        self.runtime.watch(self)


class Enclosure:
    """What evidence is bound to, and which channels still wait for theirs."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside
        self.inner: Inner | None = None
        self._bound: control.Bound | None = None
        self._boxes: list[ControlConnection] = []
        self._asked: dict[int, tuple[bytes, EnclosedConnection]] = {}
        self._waiting: list[tuple[bytes, EnclosedConnection]] = []
        self._number = 0

    def connection(self, sock: Any, runtime: Runtime, opening: bytes) -> EnclosedConnection:
        """A client's connection, ready for its handshake."""
        if self._bound is None:
            raise RemoteProtocolError("the box started a conclave without saying what it is")
        made: list[EnclosedConnection] = []
        channel = self._inside.socket(
            sock, self._bound.identity, self._bound.terms, lambda wanted: self._ask(wanted, made[0])
        )
        made.append(EnclosedConnection(channel, runtime, opening))
        return made[0]

    def started(self, function: bytes) -> None:
        """The box handed the conclave out, for a function of which it knows this commitment."""
        if self._bound is not None:
            self.inner = Inner(self._bound.identity, function, self._inside.signed)

    @property
    def own_box(self) -> bytes:
        """The SHA-256 of the key of the box that the conclave is on."""
        assert self._bound is not None
        return self._bound.identity

    def to_box(self, sock: Any, key_hash: bytes, early: bytes) -> Any:
        """A socket over `sock`, which leads to the box of that key: its own box cannot read along."""
        return self._inside.to_box(sock, key_hash, early)

    def told(self, message: Message) -> None:
        """What the box says. What a conclave is, is said once."""
        if isinstance(message, control.Bound):
            self._bound = self._bound or message
        elif isinstance(message, control.Measured):
            asked = self._asked.pop(message.number, None)
            if asked is not None and _open(asked[1]):
                asked[1].attested(message.evidence)
            self._ask_on()

    def joined(self, box: ControlConnection) -> None:
        """A box has connected: the first, or the same one after a restart."""
        self._boxes.append(box)
        for number, (wanted, _) in self._asked.items():
            box.send(control.Measure(number, wanted))

    def left(self, box: ControlConnection) -> None:
        if box in self._boxes:
            self._boxes.remove(box)

    def _ask(self, wanted: bytes, connection: EnclosedConnection) -> None:
        self._waiting = [each for each in self._waiting if _open(each[1])]
        self._waiting.append((wanted, connection))
        self._ask_on()

    def _ask_on(self) -> None:
        """A platform may take a second for each piece of evidence: for clients that come and go more
        quickly none is asked, so that they hold up nobody and cost no memory."""
        while self._waiting and len(self._asked) < _AT_ONCE:
            wanted, connection = self._waiting.pop(0)
            if not _open(connection):
                continue
            self._number = (self._number + 1) % _NUMBERS
            self._asked[self._number] = wanted, connection
            if self._boxes:
                self._boxes[-1].send(control.Measure(self._number, wanted))


def _open(connection: EnclosedConnection) -> bool:
    return bool(connection.sock.fileno() >= 0)
