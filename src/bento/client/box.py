"""A box and its instances, as a client holds them.

A box must not learn that two functions are one user's: each function has a route of its own, nothing in a
message is kept from one to the next, and first messages have sizes of a public set.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bento.client.application import Application
from bento.client.brief import attempts
from bento.client.delivery import Delivery
from bento.client.door import Greeting, Pipe, knock
from bento.client.holders import prove
from bento.client.instance import NOBODY, Instance
from bento.client.patience import HOPE, PATIENCE, Patience
from bento.client.persistence import LOST, PERSISTENCE, Broken, Tries, persist
from bento.client.routes import Routes
from bento.client.session import Comeback, Session, proof
from bento.client.upload import Upload
from bento.errors import (
    AttestationError,
    BentoError,
    BoxError,
    BusyError,
    RemoteProtocolError,
)
from bento.protocol import limits
from bento.protocol.capability import Capability
from bento.protocol.caveats import ATTACH, INVOKE, SHUTDOWN, AtBox, Runs
from bento.protocol.conclave import enclosed as in_conclave
from bento.protocol.conclave import is_conclave, terms_hash
from bento.protocol.door import Create, Created, Done, Inquire, Open, Opened, Shutdown
from bento.protocol.manifest import Manifest, amended, manifest_text
from bento.protocol.padding import CALL_CLASS, fill
from bento.protocol.session import (
    ANYWHERE,
    Attach,
    Invoke,
    session_tag,
)
from bento.protocol.ticket import SessionTicket, ShutdownTicket, Ticket
from bento.protocol.values import encode_values
from bento.protocol.wire import encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bento.client.conclave import Enclosed, Trust
    from bento.client.route import Route
    from bento.client.wallet import Wallet
    from bento.conclave.verdict import Verdict

    Log = Callable[[str], None]

_DIGEST = 32  # bytes of a SHA-256
_EMPTY_CONCLAVE = 'image = "python-conclave"\nlifetime = "1m"'


@dataclass(frozen=True)
class BoxName:
    """What tells one box from another: its relay's fingerprint (hex) and its key's hash."""

    nickname: str
    fingerprint: str
    key_hash: str

    @property
    def box(self) -> bytes:
        return bytes.fromhex(self.fingerprint)

    @property
    def key(self) -> bytes:
        return base64.urlsafe_b64decode(self.key_hash + "=")


class Box:
    """A box reached over routes; every request is a stream of its own.

    `patience` is what a new instance may cost when the box is loaded: seconds of computing and waiting.
    `persistence` is for how long a way that broke is tried again: seconds without any progress.
    `on_wait` hears what is waited for. `wallet` has passes to show instead.
    `lifetime` (seconds) is asked for in place of the manifests' own. With `brief`, `run` asks for
    minutes only, fewer where they are dear, unless the manifest says how many it needs. With `ends` (seconds
    since 1970) everything ends by then, and at the end of one lease, as nobody here renews it.

    Each function has its own route: the first one used takes `route`, the others get theirs from `another`
    as they come. Without `another` all share the one: for whom that is all the same."""

    def __init__(
        self,
        name: BoxName,
        route: Route,
        another: Callable[[], Awaitable[Route]] | None = None,
    ) -> None:
        self.name = name
        self._route = route
        self._routes = Routes(route, another)
        self.patience = PATIENCE
        self.persistence = PERSISTENCE
        self.on_wait: Log | None = None
        self.wallet: Wallet | None = None
        self.lifetime: int | None = None
        self.brief = False
        self.ends: int | None = None

    async def __aenter__(self) -> Box:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the routes. Instances and detached sessions go on without them."""
        await self._routes.close()

    async def inquire(self) -> Greeting:
        """The box's verified policy and its load."""
        greeting, _, pipe = await knock(self._route, Inquire(), self.name.key_hash)
        pipe.writer.close()
        return greeting

    async def install(
        self, upload: bytes, trust: Trust | None = None, *, manifest: str | None = None
    ) -> Instance:
        """Installs a function (source, or a zip with a __main__.py) and waits until it is loaded.

        With `trust` it runs in a conclave, which is attested before anything is uploaded; a function
        whose manifest asks for one is attested in any case. `manifest` is asked for instead of the
        function's own (see protocol.manifest.amended).

        Raises PolicyError naming every item of its manifest the box does not allow, FunctionError
        (with the traceback in its notes) when its top level fails, AttestationError when `trust` does
        not accept the conclave."""
        tries = self._tries()
        while True:
            instance, pipe, parcel = await persist(
                tries, lambda: self._create(upload, trust, manifest)
            )
            try:
                await Delivery(instance, parcel, tries).complete(pipe)
            except BoxError:
                if parcel.begun:
                    raise
                # It broke before the guest had a byte of ours: the box has ended the instance.
                await tries.again(Broken("the box lost the function", "install again"))
            else:
                return instance

    async def run(
        self,
        upload: bytes,
        *args: Any,
        text: bool = False,
        on_log: Log | None = None,
        trust: Trust | None = None,
        **kwargs: Any,
    ) -> tuple[Instance, Session]:
        """Installs and invokes in two round trips: code and arguments leave together.

        With `trust` in a conclave, see `install`; that takes one more."""
        arguments = encode_values([list(args), kwargs])
        tries = self._tries()
        instance, pipe, parcel = await self._place(tries, upload, trust)
        name = instance.session_name()
        invoke = encode(Invoke(name.session, arguments, text, instance.owner))
        comeback = Comeback(
            lambda: Delivery(instance, parcel, tries).resume(name.session, invoke),
            lambda follow: self.open(
                instance.ticket.token, name.session, follow, instance.enclosed
            ),
            tries,
        )
        try:
            await parcel.send(pipe, invoke)
        except OSError:
            pass  # the session hears of it too, and comes back
        except BaseException:
            pipe.writer.close()
            raise
        session = Session(
            *(pipe, name),
            fresh=True,
            on_log=on_log,
            on_grant=instance.learn,
            comeback=comeback,
        )
        return instance, session

    async def attest(self, trust: Trust) -> Verdict:
        """What `trust` makes of an empty conclave on this box, which is made for it and ended.

        The verdict may refuse. Raises AttestationError for evidence that does not even verify,
        PolicyError for a box without conclaves."""
        request = Create(_EMPTY_CONCLAVE, secrets.token_bytes(_DIGEST), b"", b"")
        attestation = self._enclosed(trust, request).attest()
        created, pipe = await self._request_instance(request, attestation.hello)
        try:
            pipe = await attestation.over(pipe)
        except AttestationError:
            if attestation.verdict is None:
                raise
        finally:
            pipe.writer.close()
            await self._give_up(created)
        assert attestation.verdict is not None
        return attestation.verdict

    def instance(
        self, ticket: Ticket, owner: bytes = NOBODY, trust: Trust | None = None
    ) -> Instance:
        """The instance a ticket names. Raises BoxError when it is another box's.

        `trust` is asked if the ticket names a conclave; by default the trust policy's defaults."""
        self._expect(ticket)
        return Instance(self, ticket, owner=owner, enclosed=self._named(ticket, trust))

    async def attach(
        self, name: SessionTicket, received: int = ANYWHERE, trust: Trust | None = None
    ) -> Session:
        """Goes on with a session, from byte `received` of its answer. `trust`: see `instance`."""
        self._expect(name)
        attach = encode(Attach(name.session, received, proof(name.owner)))
        enclosed = self._named(name, trust)
        return await self.session(name.token, name, attach, fresh=False, enclosed=enclosed)

    async def shutdown(self, ticket: ShutdownTicket) -> None:
        """Ends the instance and everything it kept. Raises BoxError when there is none."""
        self._expect(ticket)
        signed = prove(ticket.token, ticket.key, SHUTDOWN, bytes(limits.SESSION_TAG))
        request = Shutdown(ticket.token.encode(), signed)
        tries = self._tries()
        tried = False
        while True:
            try:
                route = await self._routes.of(request.token)
                _, answer, pipe = await knock(route, request, self.name.key_hash)
            except LOST as error:
                if not tried and not isinstance(error, Broken):
                    raise
                tried = True
                await tries.again(error)
            except BusyError:
                raise
            except BoxError:
                if tried:
                    return  # it was done, and only the answer was lost
                raise
            else:
                pipe.writer.close()
                if not isinstance(answer, Done):
                    raise RemoteProtocolError("the box did not confirm the shutdown")
                return

    async def open(
        self, token: Capability, session: bytes, follow: bytes, enclosed: Enclosed | None = None
    ) -> Pipe:
        """A stream to the instance of `token` for the session of that name; `follow` leaves with the
        request, padded, or, if the instance is a conclave, once that is attested. Opened again for the
        same session, it is the same use of the token."""
        tag = session_tag(session)
        request = Open(token.encode(), tag, prove(token, self.name.key, INVOKE | ATTACH, tag))
        attestation = enclosed.attest() if enclosed else None
        early = attestation.hello if attestation else _whole(follow)
        route = await self._routes.of(request.token)
        _, answer, pipe = await knock(route, request, self.name.key_hash, early)
        if not isinstance(answer, Opened):
            pipe.writer.close()
            raise RemoteProtocolError("the box answered with something else than Opened")
        if attestation:
            pipe = await attestation.over(pipe)
            pipe.writer.write(_whole(attestation.present(tag) + follow))
        return pipe

    async def session(
        self,
        token: Capability,
        name: SessionTicket,
        first: bytes,
        *,
        fresh: bool,
        on_log: Log | None = None,
        enclosed: Enclosed | None = None,
    ) -> Session:
        """A session over a connection that begins with `first`, and over others if that breaks."""
        tries = self._tries()

        async def begin() -> Pipe:
            return await self.open(token, name.session, first, enclosed)

        async def open_(follow: bytes) -> Pipe:
            return await self.open(token, name.session, follow, enclosed)

        comeback = Comeback(begin, open_, tries)
        pipe = await persist(tries, begin)
        return Session(pipe, name, fresh=fresh, on_log=on_log, comeback=comeback)

    def _tries(self) -> Tries:
        return Tries(self.persistence, self.on_wait)

    async def _place(
        self, tries: Tries, upload: bytes, trust: Trust | None
    ) -> tuple[Instance, Pipe, Upload]:
        """What `_create` gives, for a function that is to run once."""
        manifest = manifest_text(upload)
        if not self.brief or self.lifetime is not None:
            return await persist(tries, lambda: self._create(upload, trust, manifest))
        *easy, (manifest, _) = attempts(manifest)
        for shorter, hope in easy:
            try:
                return await persist(tries, partial(self._create, upload, trust, shorter, hope))
            except BusyError as busy:
                if busy.wait:
                    raise
        return await persist(tries, lambda: self._create(upload, trust, manifest))

    async def _create(
        self,
        upload: bytes,
        trust: Trust | None,
        manifest: str | None = None,
        hope: float = HOPE,
    ) -> tuple[Instance, Pipe, Upload]:
        """(a new instance, a stream to its guest, what is to be uploaded through it)."""
        if manifest is None:
            manifest = manifest_text(upload)
        if self.lifetime is not None:
            manifest = amended(manifest, lifetime=f"{self.lifetime}s")
        asked = Manifest.parse(manifest)  # a wrong manifest is told before anything is sent
        if self.ends is not None:
            seconds = max(1, min(asked.lifetime, self.ends - int(time.time())))
            manifest = amended(manifest, lifetime=f"{seconds}s", lease=f"{limits.LEASE_MOST}s")
        closed = trust is not None or is_conclave(asked.image)
        if closed:
            manifest = in_conclave(manifest)
            upload = secrets.token_bytes(limits.SALT) + upload
        request = Create(manifest, hashlib.sha256(upload).digest(), b"", b"")
        enclosed = self._enclosed(trust, request) if closed else None
        attestation = enclosed.attest() if enclosed else None
        hello = attestation.hello if attestation else b""
        instance, pipe = await self._request_instance(request, hello, hope)
        if enclosed:
            instance.enclosed = enclosed
            instance.ticket = replace(instance.ticket, pin=enclosed.terms)
        if attestation:
            try:
                pipe = await attestation.over(pipe)
            except BaseException:
                await self._give_up(instance)
                raise
        return instance, pipe, Upload(upload, instance.owner)

    async def _request_instance(
        self, request: Create, early: bytes, hope: float = HOPE
    ) -> tuple[Instance, Pipe]:
        route = await self._routes.new()
        patience = Patience(self.patience, self.on_wait, hope)
        application = Application(self.name, request, patience, self.wallet)
        answer, pipe = await application.enter(route, early)
        if not isinstance(answer, Created):
            pipe.writer.close()
            raise RemoteProtocolError("the box answered with something else than Created")
        self._routes.belongs(route, answer.invocation, answer.shutdown)
        try:
            instance = Instance(
                self,
                Ticket(self.name.box, self._token(answer.invocation, request)),
                ShutdownTicket(self.name.box, self._token(answer.shutdown, request)),
                answer.expires,
                secrets.token_bytes(limits.OWNER),
            )
        except BaseException:
            pipe.writer.close()
            raise
        return instance, pipe

    def _enclosed(self, trust: Trust | None, request: Create) -> Enclosed:
        from bento.client.conclave import Enclosed, Trust  # verifiers: 0.1 s nobody else waits for

        terms = terms_hash(request.manifest, request.function)
        return Enclosed(trust or Trust(), self.name.key, terms)

    def _named(self, ticket: Ticket | SessionTicket, trust: Trust | None) -> Enclosed | None:
        """The conclave a ticket names, if it names one."""
        if not ticket.pin:
            return None
        from bento.client.conclave import Enclosed, Trust

        return Enclosed(trust or Trust(), ticket.key, ticket.pin, ticket.inner)

    async def _give_up(self, instance: Instance) -> None:
        """Ends an instance that was not trusted; whether the box does so is its own affair."""
        with contextlib.suppress(BentoError, OSError):
            await instance.shutdown()

    def _token(self, data: bytes, request: Create) -> Capability:
        """A token of a new instance. Raises RemoteProtocolError unless it is bound to this box and to
        the code that was asked for."""
        token = Capability.parse(data)
        bound = (AtBox(self.name.key), Runs(request.function))
        if not all(condition in token.caveats for condition in bound):
            raise RemoteProtocolError("the box returned a token for something else")
        return token

    def _expect(self, ticket: Ticket | ShutdownTicket | SessionTicket) -> None:
        """Raises BoxError when the ticket is not this box's: it is then not shown to it."""
        if ticket.box != self.name.box:
            raise BoxError(
                f"the {ticket.NOUN} belongs to another box", "connect to the box it names"
            )
        if ticket.key != self.name.key:
            raise BoxError(
                f"the box at this relay has another key than the {ticket.NOUN} names",
                "it was set up anew and what ran there is gone, or something stands in for it",
            )


def _whole(call: bytes) -> bytes:
    """A call as it leaves: padded to its class."""
    return call + fill(len(call), CALL_CLASS)
