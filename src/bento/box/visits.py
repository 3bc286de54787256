"""The use of instances: a token is checked and its use counted, then its connection to the guest is the
client's.

A use is counted before its effect, and what cannot be counted does not happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from bento.box.instance import Visit
from bento.box.passage import Passage
from bento.box.tokens import drained, spent, unknown
from bento.egress.relay import Relay
from bento.errors import BoxError, BusyError, HostError
from bento.protocol import control, limits
from bento.protocol.capability import Capability
from bento.protocol.caveats import ATTACH, INVOKE, SHUTDOWN
from bento.safelog import Event, Fault, log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bento.box.instance import Instance
    from bento.box.instances import Instances
    from bento.box.ledger import Ledger
    from bento.box.tokens import Leave, Tokens
    from bento.protocol.door import Open, Renew, Shutdown

_INSTALLER = control.opening(control.MAY_INVOKE | control.MAY_ATTACH, control.ANY_SESSION)
_RETRY_SECONDS = 5
_PIPES = 128  # connections at most to one instance: each of its 64 sessions, and its replacement


class Visits:
    """What clients do with `instances`. `tokens` checks capabilities, `ledger` counts their uses."""

    def __init__(self, instances: Instances, tokens: Tokens, ledger: Ledger) -> None:
        self._instances = instances
        self._tokens = tokens
        self._ledger = ledger

    async def visit(self, request: Open, early: int) -> Visit:
        """A connection to the guest of a token's instance, the use of the token counted; `early` bytes
        came with the request. Raises BoxError."""
        instance, leave = await self._check(request, INVOKE | ATTACH)
        if len(instance.relays) >= _PIPES:
            raise BusyError(
                f"the instance has {_PIPES} connections already",
                "end some sessions, or try again later",
                wait=_RETRY_SECONDS,
            )
        rights = leave.operations | (control.COUNTED if leave.uses else 0)
        visit = await self.enter(instance, control.opening(rights, request.session), leave)
        try:
            with _counting():
                await self._count(visit, leave, request.session, early)
        except BaseException:
            await self.leave(visit)
            raise
        return visit

    async def leave(self, visit: Visit) -> None:
        """Undoes a visit that nobody came to."""
        visit.guest.close()
        if visit.passage is not None:
            await visit.passage.put_back()

    async def enter(
        self, instance: Instance, opening: bytes = _INSTALLER, leave: Leave | None = None
    ) -> Visit:
        """A connection to the guest within `leave`. Raises BoxError when the guest is gone."""
        guest = await self.connect(instance, opening)
        if leave is None or not leave.bounded:
            return Visit(instance, guest, creator=leave is None)
        passage = Passage(leave, instance.name, instance, self._ledger, self._instances.spawn)
        return Visit(instance, guest, passage)

    async def connect(self, instance: Instance, opening: bytes) -> socket.socket:
        """A new session connection to the guest. Raises BoxError when the guest is gone."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, str(instance.sandbox.socket_path))
            await loop.sock_sendall(sock, opening)
        except OSError:
            sock.close()
            raise BoxError("the instance has ended", "install the function again") from None
        return sock

    def join(self, visit: Visit, client: socket.socket, early: bytes) -> None:
        """From here the bytes are the client's and the guest's own.

        A creator that leaves without a byte never heard of its instance: it is ended."""
        instance, passage = visit.instance, visit.passage

        def done() -> None:
            instance.relays.discard(relay)
            if passage is not None:
                passage.ended()
            if visit.creator and not instance.bytes_in and instance in self._instances:
                self._instances.spawn(self._instances.end(instance))

        relay = Relay(
            client,
            visit.guest,
            passage or instance,
            idle_seconds=instance.terms.manifest.lifetime,
            early=early,
            done=done,
        )
        instance.relays.add(relay)
        if passage is not None:
            passage.watch(relay)

    async def shutdown(self, request: Shutdown) -> None:
        """Ends the instance of a shutdown token; returns when nothing of it is left."""
        instance, leave = await self._check(request, SHUTDOWN)
        with _counting():
            await self._spend(instance, leave, bytes(limits.SESSION_TAG))
        await self._instances.end(instance)

    async def renew(self, request: Renew) -> None:
        """The instance lives for another lease. Raises BoxError."""
        instance, _ = await self._check(request, SHUTDOWN)
        instance.renew()

    async def _check(
        self, request: Open | Renew | Shutdown, operations: int
    ) -> tuple[Instance, Leave]:
        """The instance of a token and what the token allows there. Raises BoxError."""
        token = Capability.parse(request.token)
        await self._instances.returned(token.name)
        instance = self._instances.named(token.name)
        function = instance.terms.function if instance else None
        leave = self._tokens.check(token, function, request, operations)
        assert instance is not None
        return instance, leave

    async def _count(self, visit: Visit, leave: Leave, session: bytes, early: int) -> None:
        if visit.passage is not None and not await visit.passage.admit(early):
            raise drained()
        await self._spend(visit.instance, leave, session)
        if visit.instance not in self._instances:
            raise unknown()  # it ended meanwhile

    async def _spend(self, instance: Instance, leave: Leave, session: bytes) -> None:
        if leave.uses and not await self._ledger.spend(instance.name, leave.uses, session):
            raise spent()


@contextlib.contextmanager
def _counting() -> Iterator[None]:
    """What is wrong with this machine is its operator's to know."""
    try:
        yield
    except HostError as error:
        log(Event.JOURNAL_FAILED, fault=Fault.of(error))
        raise BoxError("the box cannot count this use now", "try again later") from error
