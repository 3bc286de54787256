"""Client <-> guest, end to end; the box relays these bytes and knows nothing of them.

One connection carries one session (or none: an upload alone).

    client                                  guest
    Load, Code, Code …                 ->                    once, by whoever installs
    Invoke(session, arguments)         ->                    main(api, …) starts
    Pad                                ->                    forgotten (see `padding`)
    Data, Ack, Eof                     <->                   two resumable streams
    Present                            ->                    before an Invoke or Attach in a conclave
                                       <-  Granted           before the Loaded of one
                                       <-  Log (owner only), End
    Bye                                ->                    the guest forgets the session

A connection that dies detaches the session; `Attach(session, received)` on another connection goes on
where it stopped. `Invoke` names the session itself, so that sending it twice runs it once.
"""

from __future__ import annotations

try:
    from _sha256 import sha256  # the interpreter's own: hashlib costs a sandbox 4 ms
except ImportError:  # it has another name from Python 3.12 on
    from hashlib import sha256

from bento.protocol import limits
from bento.protocol.padding import Pad
from bento.protocol.wire import FLAG, U64, Blob, Fixed, FrameReader, Message, Text, field

ANYWHERE = (1 << 64) - 1
"""`Attach.received` of a client that lost count: the answer goes on at the oldest byte still kept."""


class Load(Message, tag=0x20):
    """The upload, as `padding.pack` made it, follows in Code frames; with `offset` > 0 it is continued
    there. With ANYWHERE the client waits for the Loading, which says where, and for nothing more if all
    of it is there."""

    size: int = field(U64)
    offset: int = field(U64)
    owner: bytes = field(Fixed(limits.OWNER))


class Code(Message, tag=0x21):
    data: bytes = field(Blob(limits.CHUNK_MAX))


class Loading(Message, tag=0x22):
    """Answers a Load: the guest has this many bytes of the upload."""

    received: int = field(U64)


class Loaded(Message, tag=0x23):
    """The function is there and its hash is right."""


class Invoke(Message, tag=0x24):
    session: bytes = field(Fixed(limits.SESSION_ID))
    arguments: bytes = field(Blob(limits.ARGUMENTS))  # values.encode_values([args, kwargs])
    text: bool = field(FLAG)  # strings are to be converted by main's annotations
    owner: bytes = field(Fixed(limits.OWNER, optional=True))  # random bytes for nobody's


class Attach(Message, tag=0x25):
    session: bytes = field(Fixed(limits.SESSION_ID))
    received: int = field(U64)  # bytes of the answer the client has, or ANYWHERE
    owner: bytes = field(Fixed(limits.OWNER, optional=True))


class Attached(Message, tag=0x26):
    """Answers Invoke and Attach: input consumed so far, and where the answer goes on (bytes)."""

    received: int = field(U64)
    offset: int = field(U64)


class Data(Message, tag=0x27):
    offset: int = field(U64)
    data: bytes = field(Blob(limits.CHUNK_MAX))


class Ack(Message, tag=0x28):
    offset: int = field(U64)


class Eof(Message, tag=0x29):
    offset: int = field(U64)


class Log(Message, tag=0x2A):
    line: str = field(Text(limits.LOG_LINE))


class End(Message, tag=0x2B):
    """main returned or raised; `offset` is the answer's length. A failure's traceback is the owner's."""

    offset: int = field(U64)
    failed: bool = field(FLAG)
    detail: str = field(Text(limits.DETAIL))
    traceback: str = field(Text(limits.TRACEBACK))


class Bye(Message, tag=0x2C):
    """The client has everything; the guest may forget the session."""


class Failed(Message, tag=0x2D):
    """The request cannot be done; the connection ends. `kind` as in bento.errors."""

    kind: str = field(Text(32))
    detail: str = field(Text(limits.DETAIL))
    hint: str = field(Text(limits.DETAIL))
    traceback: str = field(Text(limits.TRACEBACK))  # the owner's


def session_tag(name: bytes) -> bytes:
    """What the box calls a session: enough to count it once, too little to attach to it."""
    digest: bytes = sha256(b"bento session 1\0" + name).digest()
    return digest[: limits.SESSION_TAG]


class Present(Message, tag=0x2E):
    """In a conclave: the capability by which it lets whoever did not install its function use it. The
    box's own token only opens the way to the guest. `proof`: see caveats.holder_message."""

    token: bytes = field(Blob(limits.CAPABILITY))
    proof: bytes = field(Fixed(limits.HOLDER_PROOF, optional=True))


class Granted(Message, tag=0x2F):
    """A conclave's capability, for whoever installed its function to keep, narrow and give away."""

    token: bytes = field(Blob(limits.CAPABILITY))


FROM_CLIENT = (Load, Code, Invoke, Attach, Data, Ack, Eof, Bye, Present, Pad)
FROM_GUEST = (Loading, Loaded, Attached, Data, Ack, Eof, Log, End, Failed, Granted)


def guest_reader() -> FrameReader:
    """Parses what a client sends to a guest."""
    return FrameReader(FROM_CLIENT, limits.SESSION_FRAME)


def client_reader() -> FrameReader:
    """Parses what a guest sends to a client."""
    return FrameReader(FROM_GUEST, limits.SESSION_FRAME)
