"""One client connection: hello, one request, its answer, and then perhaps a pipe to a guest.

Everything a client can cause before it shows a token is bounded here: frame size, time, and the
number of connections in that state. Who has made no request yet is a stranger; when there are too many,
the one who has stood there longest makes room. A client sends its request with the opening of its
stream, so those are the slow ones, and any number of them keeps nobody out.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from bento.box.admission import admit
from bento.box.asked import Carried, hold_to
from bento.box.terms import Terms
from bento.errors import BentoError, BoxError, HostError
from bento.protocol.door import (
    BoxDoor,
    Create,
    Created,
    Done,
    Hello,
    Inquire,
    Open,
    Opened,
    Renew,
    Request,
    Seal,
    Sealed,
    Shutdown,
    refusal,
)
from bento.safelog import Event, Fault, log

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bento.box.identity import Identity
    from bento.box.instance import Visit
    from bento.box.instances import Instances
    from bento.box.offer import Offer
    from bento.box.orders import Orders
    from bento.box.sealed_way import SealedWays
    from bento.box.turnstile import Turnstile
    from bento.box.visits import Visits
    from bento.protocol.capability import Capability

_READ = 1 << 16
_KNOCK_SECONDS = 60  # from connecting to a whole request: three slow Tor round trips are 10
_LINGER_SECONDS = 10  # for a refused client to hear why
_STRANGERS = 512  # connections at most that made no request yet, or are still told why not


class Door:
    """Answers connections of every entrance."""

    def __init__(
        self,
        offer: Offer,
        instances: Instances,
        visits: Visits,
        turnstile: Turnstile,
        orders: Orders,
        identity: Identity,
    ) -> None:
        self._orders = orders
        self._identity = identity
        self._offer = offer
        self._instances = instances
        self._visits = visits
        self._turnstile = turnstile
        self._ways: SealedWays | None = None
        self._strangers: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._tasks: set[asyncio.Task[None]] = set()
        self.refusals: Counter[str] = Counter()  # by the error's kind

    @property
    def refused(self) -> int:
        """Requests that were turned away."""
        return self.refusals.total()

    def enter(self, client: socket.socket, carried: Carried | None = None) -> None:
        """Takes charge of an accepted, non-blocking socket."""
        self._estrange(self._spawn(self._serve(client, carried)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _estrange(self, task: asyncio.Task[None]) -> None:
        if len(self._strangers) >= _STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.cancel()
        self._strangers[task] = None

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._strangers.pop(task, None)

    async def _serve(self, client: socket.socket, carried: Carried | None) -> None:
        door = BoxDoor()
        with contextlib.ExitStack() as stack:
            stack.callback(client.close)
            try:
                request = await self._request(door, client)
                if isinstance(request, Seal) and carried is None:
                    await self._unseal(door, client, request)
                    return
                if carried is not None:
                    hold_to(carried.seal, request)
                visit = await self._answer(door, client, request, carried)
            except BentoError as error:
                self.refusals[error.kind] += 1
                self._estrange(_current())
                await _tell(client, door, error)
                return
            except OSError:
                return
            if visit is not None:
                stack.pop_all()  # the relay owns the socket now
                self._visits.join(visit, client, door.rest())

    async def _request(self, door: BoxDoor, client: socket.socket) -> Request:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_KNOCK_SECONDS):
                while True:
                    data = await loop.sock_recv(client, _READ)
                    if not data:
                        raise ConnectionResetError
                    for message in door.receive(data):
                        if not isinstance(message, Hello):
                            self._strangers.pop(_current(), None)
                            return message
                        await loop.sock_sendall(client, self._welcome(door, message))
        except TimeoutError:
            raise BoxError("the request took too long to arrive", "try again") from None

    def _welcome(self, door: BoxDoor, hello: Hello) -> bytes:
        offer = self._offer
        signed = offer.document, offer.signature, offer.public_key
        return door.welcome(hello, *signed, self._instances.load, self._turnstile.price)

    async def _unseal(self, door: BoxDoor, client: socket.socket, request: Seal) -> None:
        """The same door once more, for what comes sealed."""
        if self._ways is None:
            from bento.box.sealed_way import SealedWays

            self._ways = SealedWays(self._identity)
        reserved = self._instances.reserve() if request.places else None
        sealed = door.answer(Sealed(reserved.encode() if reserved else b""))
        await asyncio.get_running_loop().sock_sendall(client, sealed)
        outer = socket.socket(fileno=client.detach())
        outer.setblocking(False)

        def enter(inner: socket.socket) -> None:
            self._strangers.pop(task, None)
            self.enter(inner, Carried(request, reserved))

        task = self._spawn(self._ways.carry(outer, door.rest(), enter))
        self._estrange(task)

    async def _answer(
        self, door: BoxDoor, client: socket.socket, request: Request, carried: Carried | None
    ) -> Visit | None:
        """Does what was asked; the visit to an instance's guest when the client gets a pipe."""
        loop = asyncio.get_running_loop()
        if isinstance(request, Inquire):
            return None
        if isinstance(request, Shutdown | Renew):
            await self._ends_or_goes_on(request)
            await loop.sock_sendall(client, door.answer(Done()))
            return None
        if isinstance(request, Open):
            answer: Opened | Created = Opened()
            visit = await self._visits.visit(request, door.early)
        else:
            assert isinstance(request, Create)
            visit, answer = await self._create(request, carried.reserved if carried else None)
        try:
            async with asyncio.timeout(_KNOCK_SECONDS):
                await loop.sock_sendall(client, door.answer(answer))
        except OSError:  # TimeoutError is one
            await self._visits.leave(visit)
            if isinstance(answer, Created):  # nobody holds its tokens
                await self._instances.end(visit.instance)
            raise
        return visit

    async def _ends_or_goes_on(self, request: Shutdown | Renew) -> None:
        if isinstance(request, Renew):
            await self._visits.renew(request)
        else:
            await self._visits.shutdown(request)

    async def _create(self, request: Create, reserved: Capability | None) -> tuple[Visit, Created]:
        self._orders.admit(request.function)
        policy = self._offer.policy
        terms = Terms.read(request.manifest, request.function, policy.upload)
        admit(terms.manifest, policy)
        holder = self._turnstile.enter(request, terms.manifest)
        terms = replace(terms, holder=holder, weight=self._turnstile.weight(holder))
        try:
            grant = await self._instances.create(terms, reserved)
            visit = await self._visits.enter(grant.instance)
        except HostError as error:
            self._turnstile.failed(request)
            # What is wrong with this machine is its operator's to know.
            log(Event.SANDBOX_FAILED, fault=Fault.of(error))
            raise BoxError("the box cannot start a sandbox now", "try another box") from error
        return visit, Created(
            grant.invocation.reveal(), grant.shutdown.reveal(), grant.instance.expires
        )


def _current() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def _tell(client: socket.socket, door: BoxDoor, error: BentoError) -> None:
    """The refusal, if the client still listens. What it still sends is read and dropped for a while:
    closing on unread bytes would reset the connection and lose the refusal."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError, BentoError, TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            await loop.sock_sendall(client, door.answer(refusal(error)))
            client.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(client, _READ):
                pass
