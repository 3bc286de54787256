"""The box's part in a conclave: it says once what evidence is bound to, and then fetches evidence.

A conclave's guest asks for evidence over the control connection whenever a client's channel needs some;
the box, which speaks for the platform, answers. It learns that a channel began and nothing of what
passes through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bento.errors import AttestationError, HostError, RemoteProtocolError
from bento.protocol import control
from bento.protocol.conclave import is_conclave
from bento.protocol.wire import encode
from bento.safelog import Event, Fault, log

if TYPE_CHECKING:
    import socket

    from bento.box.config import Config
    from bento.box.identity import Identity
    from bento.box.refresher import Refresher
    from bento.box.terms import Terms
    from bento.conclave.attesters.base import Attester
    from bento.sandbox import Sandbox

_READ = 1 << 12
_AT_ONCE = 2  # pieces of evidence that the platform is asked for at the same time


class Conclaves:
    """Answers the questions of every conclave on this box."""

    def __init__(
        self, attester: Attester | None, identity: bytes, refresher: Refresher | None = None
    ) -> None:
        """`identity`: the SHA-256 of the box's key, which clients know it by."""
        self._attester = attester
        self._refresher = refresher
        self._refreshing: asyncio.Task[None] | None = None
        self._identity = identity
        self._renewed = time.time()
        # Its own threads: a slow platform asked by many guests holds up nothing else of the box.
        self._platform = ThreadPoolExecutor(_AT_ONCE, "platform")
        self._tasks: dict[Sandbox, asyncio.Task[None]] = {}

    @classmethod
    def of(cls, config: Config, identity: Identity, socks: str = "") -> Conclaves:
        """Those of the box that `config` describes; `socks` is its functions' tor's SOCKS port.

        Raises HostError."""
        attester = refresher = None
        if config.conclave.attester != "none":  # a start without them is a fifth shorter
            from bento.box.attester import make_attester, make_refresher

            attester = make_attester(config)
            refresher = make_refresher(config, attester, socks)
        return cls(attester, hashlib.sha256(identity.public_key).digest(), refresher)

    def start(self) -> None:
        """From now on the collateral is kept fresh."""
        if self._refresher is not None:
            self._refreshing = asyncio.create_task(self._refresher.keep())

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        self._platform.shutdown(wait=False, cancel_futures=True)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the box's policy says of attestation."""
        return (self._attester.kind.value,) if self._attester is not None else ()

    def bound(self, terms: Terms) -> bytes:
        """The frame that goes before a conclave's Start; nothing for any other instance."""
        if not is_conclave(terms.manifest.image):
            return b""
        return encode(control.Bound(self._identity, terms.bound))

    def measured(self, terms: Terms) -> bytes:
        """What a guest that this bentod starts is measured as, where the box's own software stands for
        the platform; to be kept with the instance, since the next bentod may be another release."""
        if self._attester is None or not is_conclave(terms.manifest.image):
            return b""
        return self._attester.measurement

    def attend(self, sandbox: Sandbox, measured: bytes) -> None:
        """From now on the guest's questions are answered, as long as its sandbox lives."""
        if self._attester is None or not is_conclave(sandbox.image.name):
            return
        task = asyncio.create_task(self._attend(sandbox.control, measured))
        self._tasks[sandbox] = task

    async def leave(self, sandbox: Sandbox) -> None:
        """Before the sandbox's control connection is closed."""
        task = self._tasks.pop(sandbox, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _attend(self, connection: socket.socket, measured: bytes) -> None:
        loop = asyncio.get_running_loop()
        reader = control.box_reader()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(connection, _READ):
                try:
                    questions = reader.feed(data)
                except RemoteProtocolError:
                    return  # a hostile guest is no longer answered
                for question in questions:
                    assert isinstance(question, control.Measure)
                    evidence = await self._evidence(question.report_data, measured)
                    answer = encode(control.Measured(question.number, evidence))
                    await loop.sock_sendall(connection, answer)

    async def _evidence(self, report_data: bytes, measured: bytes) -> bytes:
        """Evidence in its container; nothing when the platform gives none."""
        from bento.conclave.collateral import REFRESH_AFTER

        assert self._attester is not None
        now = time.time()
        if now - self._renewed > REFRESH_AFTER:
            self._attester.refresh(int(now))
            self._renewed = now
        try:
            attester = self._attester.of(measured)
            loop = asyncio.get_running_loop()
            evidence = await loop.run_in_executor(self._platform, attester.evidence, report_data)
        except (HostError, AttestationError) as error:
            log(Event.NO_EVIDENCE, fault=Fault.of(error))
            return b""
        return evidence.encode()
