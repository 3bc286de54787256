"""One connection of a function through the proxy: greeting, request, verdict, quotas, dial.

What follows is the relay's; this object then only holds what has to be given back at the end.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

from bento.egress.addresses import IPAddress
from bento.egress.limits import MAX_HANDSHAKE, EgressLimits
from bento.egress.meters import Destinations, LimitReached, destination_key
from bento.egress.policy import EgressPolicy
from bento.egress.relay import ByteGate, Relay
from bento.egress.resolve import Resolver
from bento.egress.routes import Refusal, Route, reply_of
from bento.egress.socks_server import (
    Reply,
    Request,
    SocksError,
    SocksServer,
    encode_reply,
)


class Host(ByteGate, Protocol):
    """The proxy, as a connection sees it."""

    policy: EgressPolicy
    limits: EgressLimits
    route: Route
    ledgers: tuple[Destinations, ...]

    def take_place(self) -> None:
        """Count one more open connection, or raise Refusal."""

    def opened(self) -> None: ...

    def refused(self) -> None: ...

    def failed(self) -> None: ...

    def ended(self, connection: Connection) -> None:
        """The connection is gone; called exactly once."""

    async def lookup(self, resolver: Resolver, name: str) -> list[IPAddress]: ...


class Connection:
    """`run` it once in a task; afterwards either a relay is at work or all is given back."""

    def __init__(self, host: Host, inner: socket.socket) -> None:
        self._host = host
        self._inner = inner
        self._claims: list[tuple[Destinations, str]] = []
        self._judged: tuple[str | None, IPAddress | None, int] = (None, None, 0)
        self._relay: Relay | None = None
        self.holds_place = False

    @property
    def policy(self) -> EgressPolicy:
        return self._host.policy

    @property
    def limits(self) -> EgressLimits:
        return self._host.limits

    async def run(self) -> None:
        try:
            await self._serve()
        except SocksError as error:
            self._host.refused()
            await self._answer(error.reply)
        except Refusal as refusal:
            await self._fail(refusal.code, refusal.reason)
        except OSError as error:
            await self._fail(*reply_of(error))
        finally:
            if self._relay is None:
                self._inner.close()
                self._finish()

    def judge_again(self) -> None:
        """Reset an open connection that the host's present policy would refuse."""
        if self._relay is not None and not self.policy.verdict(*self._judged).allowed:
            self._host.refused()
            self._relay.abort()

    def abort(self) -> None:
        """Reset an open connection."""
        if self._relay is not None:
            self._relay.abort()

    async def claim(self, name: str | None, ip: IPAddress | None) -> None:
        """See `routes.Gate`."""
        self._release_claims()
        self._judged = (name, ip, self._judged[2])
        key = destination_key(name, ip)
        wait = 0.0
        try:
            for ledger in self._host.ledgers:
                wait = max(wait, ledger.claim(key))
                self._claims.append((ledger, key))
        except LimitReached as limit:
            raise Refusal(Reply.NOT_ALLOWED, str(limit)) from None
        if wait:
            await asyncio.sleep(wait)

    async def lookup(self, resolver: Resolver, name: str) -> list[IPAddress]:
        """See `routes.Gate`."""
        return await self._host.lookup(resolver, name)

    async def _serve(self) -> None:
        parser = SocksServer()
        request = await self._request(parser)
        if request is None:
            return
        self._judged = (request.name, request.ip, request.port)
        self._host.take_place()
        self.holds_place = True
        async with asyncio.timeout(self.limits.connect_seconds):
            outer = await self._host.route.open(request, self)
        try:
            self._confirm()
            # Ten bytes into an empty buffer: nothing to wait for, so nothing changes in between.
            self._inner.send(encode_reply(Reply.SUCCEEDED))
        except BaseException:
            outer.close()
            raise
        self._host.opened()
        self._relay = Relay(
            self._inner,
            outer,
            self._host,
            idle_seconds=self.limits.idle_seconds,
            early=parser.rest,
            done=self._finish,
        )

    async def _request(self, parser: SocksServer) -> Request | None:
        """None if the client went away before it had asked for anything."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.limits.handshake_seconds):
                while data := await loop.sock_recv(self._inner, MAX_HANDSHAKE):
                    parser.receive(data)
                    while event := parser.next_event():
                        if isinstance(event, Request):
                            return event
                        await loop.sock_sendall(self._inner, event.answer)
        except TimeoutError:
            raise SocksError("the client did not finish its SOCKS request in time") from None
        except ConnectionError:
            pass
        return None

    def _confirm(self) -> None:
        """The policy may have been reloaded while the connection was being made."""
        verdict = self.policy.verdict(*self._judged)
        if not verdict.allowed:
            raise Refusal(Reply.NOT_ALLOWED, verdict.reason)

    async def _fail(self, code: Reply, reason: str) -> None:
        if code is Reply.NOT_ALLOWED:
            self._host.refused()
        else:
            self._host.failed()
        await self._answer(encode_reply(code, reason))

    async def _answer(self, reply: bytes) -> None:
        """The last words on a connection that is not made."""
        try:
            await self._send(reply)
            self._inner.shutdown(socket.SHUT_WR)
        except (OSError, TimeoutError):
            pass  # The client has gone; there is nobody left to tell.

    async def _send(self, data: bytes) -> None:
        async with asyncio.timeout(self.limits.handshake_seconds):
            await asyncio.get_running_loop().sock_sendall(self._inner, data)

    def _release_claims(self) -> None:
        for ledger, key in self._claims:
            ledger.release(key)
        self._claims.clear()

    def _finish(self) -> None:
        self._release_claims()
        self._host.ended(self)
