"""`api.boxes`: the Bento client inside a function. Blocking, and safe to use from several threads.

    with api.boxes.install(SOURCE, box="box1") as child:      # or box=None: any other box
        with child.invoke("word", times=2) as call:           # main(api, "word", times=2), over there
            call.send(b"input")
            call.close_input()
            for piece in call: api.send(piece)
        ticket = child.narrow(uses=1, seconds=600)            # to give away: text, weaker than ours
    answer = api.boxes.ticket("bento1…").invoke().read()      # somebody else's function, by its ticket

A child ends with its parent, however that ends: the parent's box has it ended, and where word of that
cannot come it ends by itself, since it has a lease that its parent renews. Its lifetime is cut to what
is left of the parent's; it may have children of its own as its manifest says, out of the parent's number.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
import time

from bento.errors import BentoError, BoxError, BusyError, FunctionError, RemoteProtocolError
from bento.guest.call import Call
from bento.guest.knock import Broken, Pipe, Place, find, knock, listed, survey
from bento.protocol import limits
from bento.protocol.capability import Capability
from bento.protocol.caveats import AtBox, Bytes, NotAfter, Runs, Uses
from bento.protocol.door import Create, Created, Open, Renew, Shutdown
from bento.protocol.manifest import Manifest, amended, manifest_text
from bento.protocol.padding import UPLOAD_CLASS, fill, pack
from bento.protocol.puzzle import Quote, Solver
from bento.protocol.session import Code, Failed, Load, Loaded, client_reader, session_tag
from bento.protocol.ticket import ShutdownTicket, Ticket
from bento.protocol.wire import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from bento.guest.knock import Walls

_READ = 1 << 16
_NOBODY = bytes(limits.OWNER)
_PATIENCE = 60.0  # seconds of computing and waiting that a place on a loaded box may cost
_AIR = 5.0  # seconds between asking for a child and its start, apart from patience
_PIECE = 4096  # hashes between two looks at the clock
_TRIES = 3  # of an installation whose way breaks
_PAUSE = 0.5  # seconds between them
_RENEWALS = 3  # a lease


class Boxes:
    """Of a function that ends at `expires` (seconds since 1970), in a conclave's `walls` if it is in one.

    A conclave's own box is none of the boxes here: its operator is who is to learn nothing."""

    def __init__(self, expires: int, walls: Walls | None = None) -> None:
        self._expires = expires
        self._walls = walls
        self._only: dict[str, Place] | None = None
        self._leases = _Leases()

    def only(self, lines: Iterable[str]) -> None:
        """From now on there are these boxes and no others: NICKNAME FINGERPRINT KEY each, as their relays
        announce them. For a conclave: its own box could name other keys, and read what comes by them.

        Raises ValueError."""
        self._only = {place.fingerprint: place for place in map(listed, lines)}

    def list(self) -> list[Place]:
        """Every box that this one knows, itself included unless this is a conclave."""
        known = survey()
        if self._only is not None:
            named = {place.fingerprint for place in known}
            known = [place for place in self._only.values() if place.fingerprint in named]
        return [place for place in known if not self._is_own(place)]

    def find(self, name: str = "") -> Place:
        """The box whose relay has this nickname or fingerprint, by this box's word; "": any other one.

        Raises BoxError when no relay announces it."""
        place = find(name)
        if self._only is not None:
            place = self._only.get(place.fingerprint, place)
            if place.fingerprint not in self._only:
                raise BoxError("this box is none of those that the function may use")
        if self._is_own(place):
            raise BoxError(
                "a conclave has no use for its own box: its operator would read what it has there",
                "name another box",
            )
        return place

    def install(
        self,
        code: bytes | str,
        box: str | Place | None = None,
        *,
        manifest: str | None = None,
        lifetime: int | None = None,
        lease: int = limits.LEASE,
        patience: float = _PATIENCE,
    ) -> Child:
        """A function on another box, once it is loaded there. `manifest` is asked for in place of the
        code's own; `lifetime` (seconds) at most. `lease`: seconds it lives on when this function does not
        renew it, which it does by itself. `patience`: seconds of work and waiting for a place on a busy box.

        Raises PolicyError naming all that its box does not allow, or that goes beyond what this function
        was granted; BusyError when patience is at its end; FunctionError when it cannot be loaded."""
        upload = code.encode() if isinstance(code, str) else bytes(code)
        place = box if isinstance(box, Place) else self.find(box or "")
        asked = manifest_text(upload) if manifest is None else manifest
        for left in reversed(range(_TRIES)):
            terms = amended(
                asked, lease=f"{lease}s", lifetime=f"{self._within(asked, lifetime, patience)}s"
            )
            try:
                return self._install(place, upload, terms, lease, patience)
            except Broken:  # an instance that nobody knows of ends by its lease
                if not left:
                    raise
                time.sleep(_PAUSE)
        raise AssertionError

    def ticket(self, line: str) -> Remote:
        """The function that a ticket names: one the caller gave, or of a child. Raises UsageError."""
        return Remote(Ticket.parse(line), walls=self._walls)

    def shutdown(self, line: str) -> None:
        """Ends the instance of a shutdown token (bentoend1…). Raises BoxError when there is none."""
        ticket = ShutdownTicket.parse(line)
        _shutdown(Place("", ticket.box.hex().upper(), ticket.key), ticket.token)

    def adopt(self, line: str, lease: int = limits.LEASE) -> None:
        """Renews the lease of another function's child, by its shutdown token (bentoend1…), from now on until
        it or this function ends: it outlives the one that installed it, and takes a place of this one's."""
        ticket = ShutdownTicket.parse(line)
        self._leases.add(_Life(ticket), lease, at_once=True)

    # -- inside ------------------------------------------------------------------------------

    def _is_own(self, place: Place) -> bool:
        return self._walls is not None and place.key == self._walls.own_box

    def _within(self, manifest: str, lifetime: int | None, patience: float) -> int:
        """Seconds that a child may be asked for: no more than are left once it was waited for."""
        left = self._expires - time.time()
        left = int(left - min(patience + _AIR, left / 2))
        asked = Manifest.parse(manifest).lifetime if lifetime is None else lifetime
        if left < 1:
            raise BoxError("the function is about to end: a child could not outlive it")
        return min(asked, left)

    def _install(
        self, place: Place, upload: bytes, terms: str, lease: int, patience: float
    ) -> Child:
        created, pipe = _enter(
            place,
            Create(terms, hashlib.sha256(upload).digest(), b"", b""),
            patience,
            self._walls,
        )
        try:
            child = Child(
                *(place, created, hashlib.sha256(upload).digest()), self._leases, self._walls
            )
            _upload(pipe, upload, child._owner)
        finally:
            pipe.close()
        self._leases.add(child._life, lease)
        return child


class Remote:
    """A function on another box, as whoever has a ticket may use it."""

    def __init__(self, ticket: Ticket, owner: bytes = _NOBODY, walls: Walls | None = None) -> None:
        if ticket.pin:
            raise BoxError("the ticket is a conclave's", "functions cannot verify its evidence")
        self._ticket = ticket
        self._place = Place("", ticket.box.hex().upper(), ticket.key)
        self._owner = owner
        self._walls = walls

    @property
    def ticket(self) -> str:
        """The whole ticket: whoever has it may use the function as this one may."""
        return self._ticket.encode()

    def narrow(self, *, uses: int = 0, seconds: float = 0, max_bytes: int = 0) -> str:
        """A weaker ticket to give away: so many sessions, for so long, so many bytes both ways (0: as it
        is). Made here, without asking the box."""
        conditions: list[Uses | NotAfter | Bytes] = []
        if uses:
            conditions.append(Uses(secrets.token_bytes(8), uses))
        if seconds:
            conditions.append(NotAfter(int(time.time() + seconds)))
        if max_bytes:
            conditions.append(Bytes(secrets.token_bytes(8), max_bytes))
        return self._ticket.narrow(*conditions).encode()

    def invoke(self, *args: Any, **kwargs: Any) -> Call:
        """Calls its `main(api, *args, **kwargs)`: input and answer stream (see `Call`).

        Raises BoxError when the ticket does not allow it or nothing runs there any more."""
        owner = secrets.token_bytes(limits.OWNER) if self._owner == _NOBODY else self._owner
        return Call(self._open, args, kwargs, owner)

    def _open(self, session: bytes, follow: bytes) -> Pipe:
        request = Open(self._ticket.token.encode(), session_tag(session), b"")
        _, pipe = knock(self._place, request, follow, self._walls)
        return pipe


class Child(Remote):
    """A function that this one installed. It ends with `shutdown`, with its lifetime, or with this one."""

    def __init__(
        self,
        place: Place,
        created: Created,
        function: bytes,
        leases: _Leases,
        walls: Walls | None = None,
    ) -> None:
        box, here = bytes.fromhex(place.fingerprint), AtBox(place.key)
        invocation = _token(created.invocation, (here, Runs(function)))
        super().__init__(Ticket(box, invocation), secrets.token_bytes(limits.OWNER), walls)
        self.box = place
        self.expires = created.expires
        self._end = ShutdownTicket(box, _token(created.shutdown, (here,)))
        self._life = _Life(self._end)
        self._leases = leases

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BoxError):  # it ended before, or its lease ends it
            self.shutdown()

    @property
    def shutdown_ticket(self) -> str:
        """For others to end it by, as `bento shutdown` does."""
        return self._end.encode()

    @property
    def gone(self) -> bool:
        """Whether its box said, when its lease was to be renewed, that it is there no more."""
        return not self._leases.has(self._life)

    def shutdown(self) -> None:
        """Ends it, and all that it has on other boxes. Raises BoxError when it has ended already."""
        self._leases.drop(self._life)
        _shutdown(self._place, self._end.token)


class _Life:
    """Of an instance that ends when nobody renews its lease."""

    def __init__(self, end: ShutdownTicket) -> None:
        self._place = Place("", end.box.hex().upper(), end.key)
        self._token = end.token.encode()

    def renew(self) -> None:
        _, pipe = knock(self._place, Renew(self._token))
        pipe.close()


class _Leases:
    """Renews the leases of all children, on one thread, as long as there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[_Life, tuple[float, float]] = {}  # when, and every how many seconds
        self._runs = False

    def add(self, child: _Life, lease: float, *, at_once: bool = False) -> None:
        every = lease / _RENEWALS
        with self._lock:
            self._due[child] = time.monotonic() + (0 if at_once else every), every
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, daemon=True).start()

    def has(self, child: _Life) -> bool:
        return child in self._due

    def drop(self, child: _Life) -> None:
        with self._lock:
            self._due.pop(child, None)

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            with self._lock:
                if not self._due:
                    self._runs = False
                    return
                due = [(child, every) for child, (when, every) in self._due.items() if when <= now]
                for child, every in due:
                    self._due[child] = now + every, every
                wait = min(when for when, _ in self._due.values()) - now
            for child, _ in due:
                self._begin(child)
            time.sleep(min(wait, 1.0))

    def _begin(self, child: _Life) -> None:
        try:
            threading.Thread(target=self._renew, args=(child,), daemon=True).start()
        except RuntimeError:  # the function has all the threads that its manifest's pids allow
            self._renew(child)

    def _renew(self, child: _Life) -> None:
        try:
            child.renew()
        except Broken:
            pass  # the next turn tries again
        except BoxError:
            self.drop(child)
        except BentoError:
            pass


def _token(data: bytes, bound: tuple[AtBox | Runs, ...]) -> Capability:
    """Raises RemoteProtocolError unless the new token is bound so."""
    token = Capability.parse(data)
    if not all(condition in token.caveats for condition in bound):
        raise RemoteProtocolError("the other box returned a token for something else")
    return token


def _shutdown(place: Place, token: Capability) -> None:
    _, pipe = knock(place, Shutdown(token.encode(), b""))
    pipe.close()


def _enter(
    place: Place, wanted: Create, patience: float, walls: Walls | None
) -> tuple[Created, Pipe]:
    """Asks for a place; on a loaded box again, with what it asks for, until patience is at its end."""
    deadline = time.monotonic() + patience
    request = wanted
    while True:
        try:
            answer, pipe = knock(place, request, walls=walls)
        except BusyError as busy:
            solution = _satisfy(busy, deadline)
            request = Create(wanted.manifest, wanted.function, solution, b"")
        else:
            assert isinstance(answer, Created)
            return answer, pipe


def _satisfy(busy: BusyError, deadline: float) -> bytes:
    """Works or waits for a place, within this function's own share of the processor."""
    if isinstance(busy.quote, Quote):
        solver = Solver(busy.quote)
        while time.monotonic() < deadline:
            if solution := solver.attempt(_PIECE):
                return solution.encode()
        raise busy
    if not busy.wait or time.monotonic() + busy.wait > deadline:
        raise busy
    time.sleep(busy.wait)
    return b""


def _upload(pipe: Pipe, upload: bytes, owner: bytes) -> None:
    """Brings the code to the new guest; returns when it is loaded there."""
    packed = pack(upload)
    frames = bytearray(encode(Load(len(packed), 0, owner)))
    for start in range(0, len(packed), limits.CHUNK):
        frames += encode(Code(packed[start : start + limits.CHUNK]))
    reader = client_reader()
    try:
        pipe.sock.sendall(bytes(frames) + fill(len(frames), UPLOAD_CLASS))
        data = pipe.early
        while True:
            for message in reader.feed(data):
                if isinstance(message, Loaded):
                    return
                if isinstance(message, Failed):
                    raise FunctionError(message.detail, message.hint)
            if not (data := pipe.sock.recv(_READ)):
                raise Broken("the other box hung up while the function was loaded", "try again")
    except OSError as error:
        raise Broken("the connection broke during the installation", "try again") from error
