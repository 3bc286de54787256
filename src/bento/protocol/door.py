"""Client <-> box, before the box gets out of the way.

    client                      box
    Hello  Pad  Create|Open|Renew|Shutdown|Inquire|Seal ->
           <- Welcome  Created|Opened|Done|Sealed|Refused|Busy

The client's request follows its Hello without waiting, both padded to a size class (see `padding`). After
Created or Opened the connection is a pipe to the instance's guest (see `session`); bytes the client
already sent behind an Open are the pipe's first. Anything else ends the connection.

A loaded box answers a Create with Busy: the price (see `puzzle`) or a time to wait. The client pays
and asks again on a new stream; an idle box asks for nothing and costs no round trip more.

`BoxDoor` and `ClientDoor` are the two machines: bytes in, messages out, no I/O.
"""

from __future__ import annotations

from bento.errors import KINDS, BentoError, BusyError, LocalProtocolError, RemoteProtocolError
from bento.protocol import limits
from bento.protocol.padding import DOOR_CLASS, Pad, fill
from bento.protocol.puzzle import Quote
from bento.protocol.wire import (
    U8,
    U16,
    U32,
    U64,
    Blob,
    Fixed,
    FrameReader,
    List,
    Message,
    Text,
    encode,
    field,
)


class Hello(Message, tag=0x01):
    """Nothing in it tells one client from another."""

    versions: tuple[int, ...] = field(List(U16, 8))


class Welcome(Message, tag=0x02):
    version: int = field(U16)
    policy: bytes = field(Blob(limits.POLICY))  # see protocol.policy
    signature: bytes = field(Fixed(64))
    key: bytes = field(Fixed(32))  # Ed25519; its hash stands in the relay's descriptor
    load: int = field(U8)  # percent of the instances the policy offers
    price: int = field(
        U64
    )  # hashes asked now for a function with the default manifest; 0 when idle


class Create(Message, tag=0x03):
    """A new instance for a function the box has not seen; the code goes to the guest afterwards."""

    manifest: str = field(Text(limits.MANIFEST))
    function: bytes = field(Fixed(32))  # SHA-256 of the upload; the guest runs nothing else
    solution: bytes = field(Fixed(limits.SOLUTION, optional=True))  # see `puzzle`; empty at first
    shown: bytes = field(
        Blob(limits.PASS)
    )  # a pass (see `passes`), when the box is loaded; or empty


class Created(Message, tag=0x04):
    invocation: bytes = field(Blob(limits.CAPABILITY))  # protocol.capability
    shutdown: bytes = field(Blob(limits.CAPABILITY))
    expires: int = field(U64)  # seconds since 1970, whole minutes


class Open(Message, tag=0x05):
    """`session` is the tag of the one session this connection is for. Sent again with the same tag it is
    the same use of the token: an Open whose answer was lost costs nothing when it is repeated."""

    token: bytes = field(Blob(limits.CAPABILITY))
    session: bytes = field(Fixed(limits.SESSION_TAG))
    proof: bytes = field(Fixed(limits.HOLDER_PROOF, optional=True))


class Opened(Message, tag=0x06):
    pass


class Shutdown(Message, tag=0x07):
    token: bytes = field(Blob(limits.CAPABILITY))
    proof: bytes = field(Fixed(limits.HOLDER_PROOF, optional=True))


class Done(Message, tag=0x08):
    pass


class Inquire(Message, tag=0x09):
    """Only the Welcome is wanted; the box closes after it."""


class Renew(Message, tag=0x0A):
    """The instance shall live for another lease of its manifest. `token` is one that may end it; one
    that is bound to a holder cannot renew, as there is no proof here."""

    token: bytes = field(Blob(limits.CAPABILITY))

    proof = b""  # of a holder: none


class Seal(Message, tag=0x0B):
    """A conclave's request to another box is not for its own box, which carries it, to read: from the
    answer on, this connection is TLS that the box ends itself, and one Open or Create follows inside.

    This much is said to both: a Create inside asks for at most so many places (its own and its
    children's; 0: there is none), seconds of lifetime and of a lease. `about` is the name that the
    tokens of an Open inside have in common, as what is asked of one instance goes one way."""

    places: int = field(U16)
    lifetime: int = field(U32)
    lease: int = field(U16)
    about: bytes = field(Fixed(limits.CAPABILITY_NAME, optional=True))


class Sealed(Message, tag=0x0C):
    """`shutdown` is the token that will end what a Create inside begins: who carries it may do that too."""

    shutdown: bytes = field(Blob(limits.CAPABILITY))


class Refused(Message, tag=0x0F):
    """Why not, in one sentence; `kind` names the place as in bento.errors."""

    kind: str = field(Text(32))
    detail: str = field(Text(limits.DETAIL))
    hint: str = field(Text(limits.DETAIL))

    @classmethod
    def of(cls, error: BentoError) -> Refused:
        return cls(error.kind, _clip(error.detail), _clip(error.hint))

    def error(self) -> BentoError:
        """The refusal as an exception of its kind, for the client to raise."""
        return KINDS.get(self.kind, RemoteProtocolError)(self.detail, self.hint)


class Busy(Message, tag=0x0E):
    """Not now, but for `work` hashes on `seed`, or after `wait` seconds."""

    detail: str = field(Text(limits.DETAIL))
    hint: str = field(Text(limits.DETAIL))
    wait: int = field(U32)
    work: int = field(U64)
    stamp: int = field(U64)
    seed: bytes = field(Fixed(limits.SEED, optional=True))  # empty when there is no price

    def error(self) -> BusyError:
        quote = Quote(self.work, self.stamp, self.seed) if self.work and self.seed else None
        return BusyError(self.detail, self.hint, wait=self.wait, quote=quote)


def refusal(error: BentoError) -> Refused | Busy:
    """The message that tells a client of `error`."""
    if not isinstance(error, BusyError):
        return Refused.of(error)
    quote = error.quote if isinstance(error.quote, Quote) else Quote(0, 0, b"")
    sentence = _clip(error.detail), _clip(error.hint)
    return Busy(*sentence, error.wait, quote.work, quote.stamp, quote.seed)


Request = Create | Open | Renew | Shutdown | Inquire | Seal
Answer = Created | Opened | Done | Sealed | Refused | Busy

_REQUESTS = (Hello, Pad, Create, Open, Renew, Shutdown, Inquire, Seal)
_ANSWERS = (Welcome, Created, Opened, Done, Sealed, Refused, Busy)


def _clip(text: str) -> str:
    return text.encode()[: limits.DETAIL - 4].decode(errors="ignore")


class BoxDoor:
    """The box's half: HELLO -> PADDED -> REQUEST -> ANSWER -> (PIPE | CLOSED); padding may be left out."""

    def __init__(self) -> None:
        self._reader = FrameReader(_REQUESTS, limits.DOOR_FRAME)
        self._state = "HELLO"

    def receive(self, data: bytes) -> list[Hello | Request]:
        """The messages completed by `data`; after a request nothing more is parsed."""
        messages: list[Hello | Request] = []
        for message in self._reader.feed(data):
            if (self._state == "HELLO") != isinstance(message, Hello):
                raise RemoteProtocolError(f"a {type(message).__name__} out of turn")
            if isinstance(message, Pad):
                if self._state != "PADDED":
                    raise RemoteProtocolError("more padding than one request has")
                self._state = "REQUEST"
                continue
            if isinstance(message, Hello):
                if not set(message.versions) & set(limits.VERSIONS):
                    raise RemoteProtocolError(
                        f"no common protocol version: this box speaks {limits.VERSIONS}",
                        "use a newer client, or another box",
                    )
                self._state = "PADDED"
            else:
                self._state = "ANSWER"
                self._reader.stop()
            messages.append(message)  # type: ignore[arg-type]
        return messages

    def welcome(
        self, hello: Hello, policy: bytes, signature: bytes, key: bytes, load: int, price: int
    ) -> bytes:
        version = next(v for v in limits.VERSIONS if v in hello.versions)
        return encode(Welcome(version, policy, signature, key, load, price))

    def answer(self, message: Answer) -> bytes:
        """The one answer to the request."""
        refused = isinstance(message, Refused | Busy)
        if self._state in ("PIPE", "CLOSED") or not (refused or self._state == "ANSWER"):
            raise LocalProtocolError(f"no answer is due in state {self._state}")
        self._state = "PIPE" if isinstance(message, Created | Opened | Sealed) else "CLOSED"
        return encode(message)

    @property
    def early(self) -> int:
        """Bytes the client sent behind its request: the first that would pass."""
        return self._reader.held

    def rest(self) -> bytes:
        """What the client already sent for the guest; only once the connection is a pipe."""
        if self._state != "PIPE":
            raise LocalProtocolError("the connection is not a pipe yet")
        return self._reader.rest()


class ClientDoor:
    """The client's half: send `request(...)`, feed what comes until `receive` gives the answer."""

    def __init__(self) -> None:
        self._reader = FrameReader(_ANSWERS, limits.DOOR_FRAME)
        self._request: Request | None = None
        self._welcomed = False

    def request(self, request: Request) -> bytes:
        if self._request is not None:
            raise LocalProtocolError("one connection carries one request")
        self._request = request
        hello, asked = encode(Hello(limits.VERSIONS)), encode(request)
        return hello + fill(len(hello) + len(asked), DOOR_CLASS) + asked

    def receive(self, data: bytes) -> list[Welcome | Answer]:
        messages: list[Welcome | Answer] = []
        for message in self._reader.feed(data):
            self._check(message)
            messages.append(message)  # type: ignore[arg-type]
        return messages

    def rest(self) -> bytes:
        """Bytes of the guest that came with the answer."""
        return self._reader.rest()

    def _check(self, message: Message) -> None:
        expected = _ANSWER_TO[type(self._request)]
        if isinstance(message, Welcome):
            if self._welcomed or message.version not in limits.VERSIONS:
                raise RemoteProtocolError("a Welcome out of turn or of an unknown version")
            self._welcomed = True
            if isinstance(self._request, Inquire):
                self._reader.stop()
            return
        if isinstance(message, Refused | Busy):
            self._reader.stop()
            return
        if not self._welcomed or expected is None or not isinstance(message, expected):
            raise RemoteProtocolError(
                f"the box answered with an unexpected {type(message).__name__}"
            )
        self._reader.stop()


_ANSWER_TO: dict[type | None, type | None] = {
    Create: Created,
    Open: Opened,
    Renew: Done,
    Shutdown: Done,
    Inquire: None,
    Seal: Sealed,
    type(None): None,
}
