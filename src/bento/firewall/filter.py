"""The Stem firewall of one function, without I/O: bytes and times in, outputs out.

    function --lines--> CommandReader -> grammar -> Judge --rebuilt command--> tor
    function <--bytes-- View / replies <------------ ReplyParser <---bytes---- tor

States: LOGIN until AUTHENTICATE, OPEN, LEAVING while tor confirms that a dead function's circuits
are closed, OVER.

Invariants:
- One command of the function is in flight at a time; the next is judged when its answer is
  known. So answers are in order, pipelining is safe, and the ownership table is never behind.
- Bytes for tor are only ever written by `line()` methods of `commands` (and SETEVENTS).
- Whatever ends the function's connection, its circuits and waiting streams are closed in tor.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum, auto

from bento.errors import TorError
from bento.firewall import commands as c
from bento.firewall import limits, replies
from bento.firewall.grammar import parse
from bento.firewall.judge import Answer, Forward, Judge, Settings, subscription
from bento.firewall.ownership import Ownership
from bento.firewall.quota import Bucket
from bento.firewall.reader import CommandReader, RawCommand
from bento.firewall.refusal import Refusal
from bento.firewall.rules import COMMANDS
from bento.firewall.usage import Usage
from bento.tor.control_codec import Event, Reply, ReplyParser, encode_command


@dataclass(frozen=True, slots=True)
class ToGuest:
    """Bytes for the function. An event may be dropped when the function does not read."""

    data: bytes
    is_event: bool = False


@dataclass(frozen=True, slots=True)
class ToTor:
    data: bytes


@dataclass(frozen=True, slots=True)
class Hold:
    """From now on the function's new streams wait for it (or no longer do)."""

    held: bool


@dataclass(frozen=True, slots=True)
class End:
    """Close both connections, after all that was put out before."""


Output = ToGuest | ToTor | Hold | End


class _State(Enum):
    LOGIN = auto()
    OPEN = auto()
    LEAVING = auto()
    OVER = auto()


_BEFORE_LOGIN = (c.ProtocolInfo, c.Authenticate, c.Quit)
_RESOURCE_LIMIT = 11  # control-spec §4.1.2, END_STREAM_REASON_RESOURCELIMIT
_DONE = 6  # END_STREAM_REASON_DONE


class FunctionFilter:
    """One function's firewall. `now` is any clock in seconds that never goes back."""

    def __init__(self, settings: Settings, now: float) -> None:
        self.refusals: Counter[str] = Counter()
        self.wake_at: float | None = None
        self._grants = settings.grants
        self._own = Ownership(settings.isolation_key)
        self._judge = Judge(settings, self._own, now)
        self._reader = CommandReader()
        self._parser = ReplyParser()
        self._lines = Bucket(limits.LINES_PER_SECOND, limits.LINES_BURST, now)
        self._state = _State.LOGIN
        self._awaited: deque[Forward | None] = deque()
        self._in_flight = False
        self._outputs: list[Output] = []

    @property
    def usage(self) -> Usage:
        """What the function used; `usage.grants().line()` is the manifest line for it."""
        return self._judge.usage

    @property
    def wants_guest(self) -> bool:
        """Whether more of the function's bytes may be read: back-pressure when not."""
        blocked = self._in_flight or self.wake_at is not None
        return not blocked or self._reader.buffered < limits.MAX_BACKLOG

    @property
    def is_leaving(self) -> bool:
        """The function is gone and tor has yet to confirm that what it built is closed."""
        return self._state is _State.LEAVING

    @property
    def leftovers(self) -> list[int]:
        """Circuits of the function that tor has not confirmed to be closed."""
        return self._own.made

    def start(self) -> list[Output]:
        """The first words to tor, on a connection that is authenticated."""
        self._internal(subscription(frozenset()))
        return self._take()

    def from_guest(self, data: bytes, now: float) -> list[Output]:
        """Bytes of the function."""
        if self._state in (_State.LOGIN, _State.OPEN):
            self._reader.feed(data)
            self._advance(now)
        return self._take()

    def from_tor(self, data: bytes, now: float) -> list[Output]:
        """Bytes of tor's control port. What cannot be read ends the connection."""
        if self._state is _State.OVER:
            return []
        try:
            messages = self._parser.feed(data)
        except TorError:
            self._over()
            return self._take()
        for message in messages:
            if isinstance(message, Event):
                self._event(message, now)
            else:
                self._reply(message, now)
        self._advance(now)
        return self._take()

    def tick(self, now: float) -> list[Output]:
        """`wake_at` has come."""
        self._advance(now)
        return self._take()

    def guest_gone(self) -> list[Output]:
        """The function's connection ended: close what is the function's, then end."""
        self._leave()
        return self._take()

    def tor_gone(self) -> list[Output]:
        """tor's connection ended."""
        self._over()
        return self._take()

    # -- the function's side ---------------------------------------------------------------

    def _advance(self, now: float) -> None:
        self.wake_at = None
        while self._state in (_State.LOGIN, _State.OPEN) and not self._in_flight:
            ready_at = self._lines.ready_at(1, now)
            if ready_at > now:
                self.wake_at = ready_at
                return
            raw = self._reader.next()
            if raw is None:
                return
            self._lines.take(1, now)
            self._command(raw, now)

    def _command(self, raw: RawCommand | Refusal, now: float) -> None:
        keyword = raw.keyword if isinstance(raw, RawCommand) else ""
        try:
            if isinstance(raw, Refusal):
                raise raw
            command = parse(raw)
            if self._state is _State.LOGIN and not isinstance(command, _BEFORE_LOGIN):
                raise Refusal(514, "Authentication required.")
            decision = self._judge.judge(command, now)
        except Refusal as refusal:
            self._refuse(keyword, refusal)
            return
        if isinstance(decision, Forward):
            self._in_flight = True
            self._awaited.append(decision)
            self._outputs.append(ToTor(decision.wire))
            return
        self._answered(command, decision)

    def _answered(self, command: c.Command, answer: Answer) -> None:
        self._outputs.append(ToGuest(answer.reply))
        if isinstance(command, c.Authenticate):
            self._state = _State.OPEN
        if answer.hold is not None:
            self._outputs.append(Hold(answer.hold))
        if answer.ends:
            self._leave()

    def _refuse(self, keyword: str, refusal: Refusal) -> None:
        self.refusals[keyword if keyword in COMMANDS else "other"] += 1
        self._outputs.append(ToGuest(replies.one_line(refusal.status, refusal.text)))
        if self._state is _State.LOGIN or self._reader.dead:
            self._leave()

    # -- tor's side ------------------------------------------------------------------------

    def _event(self, event: Event, now: float) -> None:
        seen = self._judge.view.event(event, now)
        if seen is None:
            return
        if event.keyword == "STREAM":
            self._limit_streams(event)
        if event.keyword in self._judge.asked_events and self._state is _State.OPEN:
            self._outputs.append(ToGuest(seen, is_event=True))

    def _limit_streams(self, event: Event) -> None:
        if "streams" not in self._grants or event.positional[1] not in ("NEW", "NEWRESOLVE"):
            return
        self.usage.level("streams", min(len(self._own.streams), self._grants.number("streams")))
        if len(self._own.streams) > self._grants.number("streams"):
            command = c.CloseStream(int(event.positional[0]), _RESOURCE_LIMIT)
            self._internal(encode_command(command.line()))

    def _reply(self, reply: Reply, now: float) -> None:
        if not self._awaited:
            self._over()
            return
        forward = self._awaited.popleft()
        if forward is not None:
            self._in_flight = False
            answer = forward.done(reply, now) if reply.is_ok else _error(reply)
            if reply.is_ok and forward.follow is not None and (wire := forward.follow(reply)):
                self._internal(wire)
            if self._state is _State.LEAVING:
                self._clean_up()
            elif self._state is _State.OPEN:
                self._outputs.append(ToGuest(answer))
        elif self._state is _State.LEAVING and not self._awaited:
            self._over()

    # -- the end ---------------------------------------------------------------------------

    def _leave(self) -> None:
        if self._state in (_State.LOGIN, _State.OPEN):
            self._state = _State.LEAVING
            self.wake_at = None
            if not self._in_flight:
                self._clean_up()

    def _clean_up(self) -> None:
        """Close what the function built. Its onion services end with the connection itself."""
        if self._judge.leave_unattached:
            self._outputs.append(Hold(False))
            for stream in self._own.unattached:
                self._internal(encode_command(c.CloseStream(stream, _DONE).line()))
        for circuit in self._own.made:
            self._internal(encode_command(c.CloseCircuit(circuit).line()))
        if not self._awaited:
            self._over()

    def _over(self) -> None:
        if self._state is not _State.OVER:
            self._state = _State.OVER
            self._in_flight = False
            self.wake_at = None
            self._outputs.append(End())

    def _internal(self, wire: bytes) -> None:
        self._awaited.append(None)
        self._outputs.append(ToTor(wire))

    def _take(self) -> list[Output]:
        outputs, self._outputs = self._outputs, []
        return outputs


def _error(reply: Reply) -> bytes:
    return replies.one_line(reply.status, reply.text)
