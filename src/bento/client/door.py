"""One request to a box, from hello to its answer; then the stream is the guest's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bento.client.persistence import Broken
from bento.errors import BusyError
from bento.protocol.door import Answer, Busy, ClientDoor, Inquire, Refused, Request, Welcome
from bento.protocol.policy import Policy, verify

if TYPE_CHECKING:
    from bento.client.route import Route

_READ = 1 << 16


class Reader(Protocol):
    """What is used of an asyncio.StreamReader."""

    async def read(self, size: int = -1, /) -> bytes: ...


class Writer(Protocol):
    """What is used of an asyncio.StreamWriter."""

    def write(self, data: bytes, /) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...

    async def wait_closed(self) -> None: ...


@dataclass
class Pipe:
    """A stream that now leads to a guest. `early` came with the box's answer."""

    reader: Reader
    writer: Writer
    early: bytes


@dataclass(frozen=True)
class Greeting:
    """What a box says of itself: its verified policy, its load in percent, and what a new instance of
    the default manifest costs now, in hashes."""

    policy: Policy
    load: int
    price: int


async def knock(
    route: Route, request: Request, key_hash: str, follow: bytes = b""
) -> tuple[Greeting, Answer | None, Pipe]:
    """Sends `request` (and `follow`, for the guest behind it) and reads the answer.

    The box must show the key whose hash is `key_hash`. Raises the box's refusal as the error it is,
    Broken when the box hangs up, RemoteProtocolError when it talks nonsense."""
    door = ClientDoor()
    reader, writer = await route.open(door.request(request) + follow)
    try:
        greeting, answer = await _read(door, reader, request, key_hash)
    except OSError as error:
        writer.close()
        raise _hung_up() from error
    except BaseException:
        writer.close()
        raise
    return greeting, answer, Pipe(reader, writer, door.rest())


async def _read(
    door: ClientDoor, reader: asyncio.StreamReader, request: Request, key_hash: str
) -> tuple[Greeting, Answer | None]:
    greeting: Greeting | None = None
    while True:
        data = await reader.read(_READ)
        if not data:
            raise _hung_up()
        for message in door.receive(data):
            if isinstance(message, Refused | Busy):
                error = message.error()
                if isinstance(error, BusyError) and greeting is not None:
                    error.cards = greeting.policy.passes
                raise error
            if isinstance(message, Welcome):
                policy = verify(message.policy, message.signature, message.key, key_hash)
                greeting = Greeting(policy, message.load, message.price)
                if isinstance(request, Inquire):
                    return greeting, None
                continue
            assert greeting is not None
            return greeting, message


def _hung_up() -> Broken:
    return Broken("the box hung up", "it may be restarting; try again or use another box")
