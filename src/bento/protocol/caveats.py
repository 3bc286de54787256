"""The conditions a capability can carry, and whether a request is within them.

A caveat is `u8 length | u8 kind | fields`, a frame of `wire` with a short length. Every condition must
hold; there is no order of precedence, so adding one can only weaken. A kind not listed here refuses.

`judge` is pure: what the time is, whose box this is and whether a proof is good comes from its caller.
Uses and bytes are not judged here but counted (`Counted`), together with their effect.
"""

from __future__ import annotations

from bento.errors import BoxError, RemoteProtocolError
from bento.protocol import wire
from bento.protocol.wire import U8, U32, U64, Fixed, FrameReader, Message, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

INVOKE, ATTACH, SHUTDOWN = 1, 2, 4
"""The operations: start a session, go on with one whose name is known, end the instance."""

OPERATIONS = {"invoke": INVOKE, "attach": ATTACH, "shutdown": SHUTDOWN}


class Only(Message, tag=1):
    """Nothing but these operations (a set of the bits above)."""

    operations: int = field(U8)


class AtBox(Message, tag=2):
    """Only at the box whose Ed25519 key has this SHA-256."""

    key: bytes = field(Fixed(32))


class Runs(Message, tag=3):
    """Only while the instance runs the code with this SHA-256."""

    function: bytes = field(Fixed(32))


class NotAfter(Message, tag=4):
    """Only before this moment (seconds since 1970); connections made with it end then."""

    time: int = field(U64)


class Uses(Message, tag=5):
    """At most `limit` sessions, together with all that was narrowed from here. `salt` is random: without
    it two holders of equal conditions would share one counter."""

    salt: bytes = field(Fixed(8))
    limit: int = field(U32)


class Bytes(Message, tag=6):
    """At most `limit` bytes through the box, both ways, all sessions together."""

    salt: bytes = field(Fixed(8))
    limit: int = field(U64)


class Holder(Message, tag=7):
    """Only with a proof by this Ed25519 key; `holder_message` says what is signed."""

    key: bytes = field(Fixed(32))


class Unknown:
    """A kind this software does not know. It cannot be obeyed, so it refuses."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unknown) and other.raw == self.raw

    __hash__ = None  # type: ignore[assignment]


Caveat = Only | AtBox | Runs | NotAfter | Uses | Bytes | Holder | Unknown
Counted = Uses | Bytes

_KINDS = (Only, AtBox, Runs, NotAfter, Uses, Bytes, Holder)
_TAGS = {kind.TAG for kind in _KINDS}
_PAD = b"\0\0\0"  # what a frame's length has more than a caveat's


def encode(caveat: Caveat) -> bytes:
    return caveat.raw if isinstance(caveat, Unknown) else wire.encode(caveat)[len(_PAD) :]


def split(data: bytes) -> Iterator[bytes]:
    """The caveats in `data`, whole. Raises RemoteProtocolError when they do not end where it does."""
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        if data[at] == 0 or end > len(data):
            raise RemoteProtocolError("a condition of a token has a wrong length")
        yield data[at:end]
        at = end


def decode(raw: bytes) -> Caveat:
    """One of `split`'s. Raises RemoteProtocolError when a known kind has wrong fields."""
    if raw[1] not in _TAGS:
        return Unknown(raw)
    (caveat,) = FrameReader(_KINDS, 255).feed(_PAD + raw)
    return caveat  # type: ignore[return-value]


class Asked:
    """A request, as far as conditions can speak of it. `proves(key)` is whether its holder's proof
    was made by the Ed25519 key; it is called only where a condition names one."""

    def __init__(
        self,
        operations: int,
        box: bytes,
        function: bytes,
        now: float,
        proves: Callable[[bytes], bool],
    ) -> None:
        self.operations = operations
        self.box = box
        self.function = function
        self.now = now
        self.proves = proves


def judge(conditions: Iterable[Caveat], asked: Asked) -> int:
    """The operations that remain of those asked for. Raises BoxError naming the condition not met."""
    allowed = asked.operations
    for condition in conditions:
        if isinstance(condition, Only):
            allowed &= condition.operations
        else:
            _CHECKS[type(condition)](condition, asked)
    if not allowed:
        raise BoxError("the token does not allow this", "bento ticket shows what it allows")
    return allowed


def _at_box(condition: AtBox, asked: Asked) -> None:
    if condition.key != asked.box:
        raise BoxError("the token is for another box", "connect to the box it names")


def _runs(condition: Runs, asked: Asked) -> None:
    if condition.function != asked.function:
        raise BoxError("the token is for another function", "ask its giver for a new one")


def _not_after(condition: NotAfter, asked: Asked) -> None:
    if asked.now >= condition.time:
        raise BoxError("the token's time is over", "ask its giver for a new one")


def _holder(condition: Holder, asked: Asked) -> None:
    if not asked.proves(condition.key):
        raise BoxError(
            "the token belongs to the holder of a key, and this request has no proof of it",
            "use it where `bento holder` made that key",
        )


def _unknown(condition: Unknown, asked: Asked) -> None:
    raise BoxError("the token has a condition this box does not know", "it may be for a newer box")


def _counted(condition: Counted, asked: Asked) -> None:
    """Counted where it takes effect."""


_CHECKS: dict[type, Callable[..., None]] = {
    AtBox: _at_box,
    Runs: _runs,
    NotAfter: _not_after,
    Uses: _counted,
    Bytes: _counted,
    Holder: _holder,
    Unknown: _unknown,
}


def holder_message(binding: bytes, capability: bytes, operations: int, session: bytes) -> bytes:
    """What a holder signs with the key of a `Holder` condition.

    `binding` names the channel: the SHA-256 of the box's key where a box checks, the exporter of the
    TLS channel where a conclave does. `capability` is the whole token, `session` the tag of the session
    that is asked for (zero for a shutdown). So a proof serves one request for one session at one box:
    replayed, it leads to that same session only, whose name the replayer would have to know as well."""
    from hashlib import sha256

    return (
        b"bento holder 1\0" + binding + sha256(capability).digest() + bytes([operations]) + session
    )
