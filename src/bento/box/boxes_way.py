"""One function's way to other boxes: it names a box, this carries the bytes there, and reads along.

The listener was opened inside the sandbox and handed out, so that being able to connect is the
authentication; a function whose manifest has no `boxes` has none. Of each connection the one request and
its answer are read as they pass: a Create is judged before it leaves, and what begins by it is known
here, so that it is ended with the function. The rest is the guest's and the other box's. A conclave's
requests come sealed for the other box: of those what is said beside them is judged, which that box
holds them to, and what comes back at once is the token that ends the child.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING

from bento.box.asked import Asked
from bento.box.entrance import Entrance
from bento.egress.meters import TokenBucket
from bento.egress.relay import Relay
from bento.errors import BentoError, BoxError, RemoteProtocolError
from bento.protocol import broker, control
from bento.protocol.capability import Capability
from bento.protocol.door import (
    BoxDoor,
    ClientDoor,
    Create,
    Created,
    Done,
    Hello,
    Inquire,
    Opened,
    Refused,
    Renew,
    Request,
    Seal,
    Sealed,
    Shutdown,
    Welcome,
    refusal,
)
from bento.protocol.limits import TREE
from bento.protocol.manifest import Manifest
from bento.protocol.wire import encode
from bento.sandbox.handshake import listeners

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from bento.box.children import Child, Children, Kept
    from bento.box.neighbours import Neighbours
    from bento.egress.proxy import EgressProxy
    from bento.protocol.door import Answer
    from bento.tor.boxes import RelayEntry

    Keep = Callable[[Sequence[Kept]], Awaitable[None]]

_READ = 1 << 16
_MOST_CONNECTIONS = 128  # to all other boxes together
_CIRCUITS_PER_SECOND, _CIRCUITS_BURST = 0.5, 2 * TREE
_MOST_CIRCUITS = 256  # remembered; tor closes those that nobody uses
_PER_SECOND, _BURST = 20, 128
_SECONDS = 120  # for a request, the way to the other box, and its answer
_END_SECONDS = 15  # for telling a child of the end: a closing bentod waits so long at most
_IDLE_SECONDS = 3600.0
_LISTED = 128  # boxes in one answer
_MOST_SURVEYS = 80  # on one connection: as many boxes as there are relays
_USER = "box-%s"  # names a circuit; the function's own names have no part in it


class BoxesWay:
    """`key` names the function to tor, `path` is the guest's socket; `egress` counts the bytes, `keep` writes
    down which children there are."""

    def __init__(
        self,
        key: str,
        path: Path,
        neighbours: Neighbours,
        children: Children,
        egress: EgressProxy,
        keep: Keep,
    ) -> None:
        self.children = children
        self._key = key
        self._path = path
        self._neighbours = neighbours
        self._egress = egress
        self._keep = keep
        self._entrance: Entrance | None = None
        self._circuits: dict[bytes, str] = {}  # by the name of a token
        self._arrivals = TokenBucket(_PER_SECOND, _BURST)
        self._new_circuits = TokenBucket(_CIRCUITS_PER_SECOND, _CIRCUITS_BURST)
        self._tasks: set[asyncio.Task[None]] = set()
        self._relays: set[Relay] = set()

    async def open(self) -> None:
        """Gets the listener of the guest and serves it. Raises HostError."""
        [listener] = await listeners(self._path, control.BOXES, control.BOXES_READY, 1)
        self._entrance = Entrance(listener, self._enter)

    async def close(self) -> None:
        """No byte of the function's passes any more. Its children go on."""
        if self._entrance is not None:
            self._entrance.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for relay in tuple(self._relays):
            relay.abort()

    async def end_children(self) -> None:
        """Has every child ended that is known here, as well as its box can be reached; where it cannot,
        the child's lease does it."""
        await asyncio.gather(*map(self._end_child, self.children), return_exceptions=True)

    # -- one connection --------------------------------------------------------------------------

    def _enter(self, guest: socket.socket) -> None:
        self._arrivals.spend(1)
        if (wait := self._arrivals.seconds_until(1)) and self._entrance is not None:
            self._entrance.pause(wait)
        if len(self._tasks) + len(self._relays) >= _MOST_CONNECTIONS:
            guest.close()
            return
        task = asyncio.create_task(self._serve(guest))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, guest: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(guest.close)
            try:
                async with asyncio.timeout(_SECONDS):
                    entry, early = await self._meant(guest)
                    far = await self._pass_request(guest, entry, early, stack)
            except TimeoutError:
                return
            except BentoError as error:
                with contextlib.suppress(OSError):
                    await _send(guest, encode(refusal(error)))
                return
            except OSError:
                return
            if far is not None:
                stack.pop_all()
                self._join(guest, far)

    async def _meant(self, guest: socket.socket) -> tuple[RelayEntry, bytes]:
        """The box that the guest wants to reach, and what it sent behind that."""
        reader = broker.box_reader()
        surveys = 0
        while True:
            for message in reader.feed(await _receive(guest)):
                if isinstance(message, broker.Survey):
                    surveys += 1
                    if surveys > _MOST_SURVEYS:
                        raise RemoteProtocolError("the list of boxes was asked for too often")
                    await _send(guest, encode(await self._listed(message.first)))
                    continue
                assert isinstance(message, broker.Reach)
                reader.stop()
                entry = await self._neighbours.find(message.name)
                await _send(guest, encode(_reached(entry)))
                return entry, reader.rest()

    async def _listed(self, first: int) -> broker.Surveyed:
        entries = (await self._neighbours.all())[first : first + _LISTED]
        return broker.Surveyed(
            tuple(f"{one.nickname} {one.fingerprint} {one.announcement.key}" for one in entries)
        )

    async def _pass_request(
        self, guest: socket.socket, entry: RelayEntry, sent: bytes, stack: contextlib.ExitStack
    ) -> socket.socket | None:
        """The other box's end once it has answered; None when nothing follows its answer."""
        request, head, behind = await _request(guest, sent)
        token = _token(request)
        user = await self._circuit_of(token)
        child = self._judge(request, token, entry, user)
        if child is None:  # or what is behind waits until the child is known here
            head, behind = head + behind, b""
        try:
            far = await self._neighbours.connect(entry, self._key, user)
            stack.callback(far.close)
            await self._pass_on(far, head, outwards=True)
            answer, said = await _answer(far, request)
            if child is not None and isinstance(answer, Created | Sealed):
                name = Capability.parse(answer.shutdown).name
                self.children.began(child, name, answer.shutdown)
                self._remember(name, user)
                child = None
                await self._keep(self.children.kept)
        finally:
            if child is not None:
                self.children.cancel(child)
        if isinstance(request, Renew | Shutdown) and token:
            await self._look_after(token, request, answer)
        await self._pass_on(guest, said, outwards=False)
        if not isinstance(answer, Created | Opened | Sealed):
            return None
        await self._pass_on(far, behind, outwards=True)
        return far

    async def _pass_on(self, to: socket.socket, data: bytes, *, outwards: bool) -> None:
        self._egress.passed(len(data), outwards)
        await _send(to, data)

    async def _circuit_of(self, token: bytes | None) -> str:
        """What is asked of one instance goes one way; what may be another one's, another. A new way
        costs the network something: who asks for many in a row waits."""
        if token is not None and token in self._circuits:
            return self._circuits[token]
        self._new_circuits.spend(1)
        await asyncio.sleep(self._new_circuits.seconds_until(1))
        user = _USER % secrets.token_hex(8)
        if token is not None:
            self._remember(token, user)
        return user

    def _remember(self, token: bytes, user: str) -> None:
        if len(self._circuits) >= _MOST_CIRCUITS:
            del self._circuits[next(iter(self._circuits))]
        self._circuits[token] = user

    def _judge(
        self, request: Request, token: bytes | None, entry: RelayEntry, user: str
    ) -> Child | None:
        """A place for the child that a Create begins. Raises PolicyError."""
        if isinstance(request, Create | Seal) and (asked := _asked(request)):
            return self.children.want(asked, entry, user)
        if isinstance(request, Renew) and token:
            self.children.renew(token, request.token, entry, user)
        return None

    def _join(self, guest: socket.socket, far: socket.socket) -> None:
        def done() -> None:
            self._relays.discard(relay)

        relay = Relay(guest, far, self._egress, idle_seconds=_IDLE_SECONDS, early=b"", done=done)
        self._relays.add(relay)

    async def _look_after(
        self, token: bytes, request: Renew | Shutdown, answer: Answer | None
    ) -> None:
        """Whether the child is there no more, by its box's answer to its very token: one that the
        function altered tells nothing."""
        child = self.children.get(token)
        refused = isinstance(answer, Refused) and answer.kind == BoxError.kind
        done = isinstance(answer, Done) and isinstance(request, Shutdown)
        if child is not None and (done or (refused and child.token == request.token)):
            self.children.ended(token)
            await self._keep(self.children.kept)

    async def _end_child(self, child: Child) -> None:
        assert child.entry is not None
        async with asyncio.timeout(_END_SECONDS):
            far = await self._neighbours.connect(child.entry, self._key, child.user)
            with contextlib.closing(far):
                door = ClientDoor()
                await _send(far, door.request(Shutdown(child.token, b"")))
                while all(isinstance(one, Welcome) for one in door.receive(await _receive(far))):
                    pass


def _reached(entry: RelayEntry) -> broker.Reached:
    key = urlsafe_b64decode(entry.announcement.key + "=")
    return broker.Reached(entry.nickname, bytes.fromhex(entry.fingerprint), key)


async def _request(guest: socket.socket, sent: bytes) -> tuple[Request, bytes, bytes]:
    """The guest's request to the other box, the bytes it came in, and those behind them.

    Raises RemoteProtocolError."""
    door = BoxDoor()
    data = sent
    while True:
        for message in door.receive(data):
            if not isinstance(message, Hello):
                end = len(sent) - door.early
                return message, sent[:end], sent[end:]
        sent += (data := await _receive(guest))


async def _answer(far: socket.socket, request: Request) -> tuple[Answer | None, bytes]:
    """What the other box answers (nothing but a Welcome to an Inquire), and the bytes it came in.

    Raises RemoteProtocolError."""
    door = ClientDoor()
    door.request(request)
    said = b""
    while True:
        said += (data := await _receive(far))
        for message in door.receive(data):
            if not isinstance(message, Welcome):
                return message, said
            if isinstance(request, Inquire):
                return None, said


def _asked(request: Create | Seal) -> Asked | None:
    """What a child that begins by it may take up. Raises UsageError."""
    if isinstance(request, Seal):
        return Asked.within(request)
    return Asked.by(Manifest.parse(request.manifest))


def _token(request: Request) -> bytes | None:
    """The name of the token that is shown, or is meant by a sealed request, if there is one."""
    if isinstance(request, Seal):
        return request.about or None
    raw = getattr(request, "token", None)
    return Capability.parse(raw).name if raw else None


async def _receive(sock: socket.socket) -> bytes:
    data = await asyncio.get_running_loop().sock_recv(sock, _READ)
    if not data:
        raise ConnectionResetError
    return data


async def _send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)
