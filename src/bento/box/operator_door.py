"""The operator's way in: a unix socket in the run folder that only bentod's own user may open.

One connection, one line asked, one line answered. Who can open the socket may do everything here, so
there is nothing to log in with; what is asked is parsed strictly all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import msgspec

from bento.box.operator_messages import MAX_LINE, Answer, Ask, Done, Failure, Row, Top
from bento.box.orders import read_hash
from bento.errors import BentoError, BoxError, HostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from bento.box.door import Door
    from bento.box.instance import Instance
    from bento.box.instances import Instances
    from bento.box.orders import Orders

SOCKET = "operator.sock"
_PATIENCE = 10.0  # seconds to ask; an order itself may take as long as it does


class OperatorDoor:
    """Answers `bentod top`, `kill`, `block` and `drain`."""

    def __init__(self, name: str, instances: Instances, orders: Orders, door: Door) -> None:
        self._name = name
        self._instances = instances
        self._orders = orders
        self._door = door
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def open(self, run: Path) -> None:
        """Raises HostError when the socket cannot be made."""
        self._path = run / SOCKET
        try:
            self._path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_LINE)
            os.chmod(self._path, 0o600)  # noqa: PTH101 - the folder itself is private already
        except OSError as error:
            raise HostError(f"cannot listen on {self._path}: {error.strerror or error}") from None

    async def close(self) -> None:
        if self._server is not None and self._path is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                line = await reader.readline()
            writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
            await writer.drain()
        writer.close()

    async def _answer(self, line: bytes) -> Answer:
        try:
            ask = msgspec.json.decode(line, type=Ask)
            return await _HANDLERS[ask.do](self, ask.name)
        except BentoError as error:
            return Answer(failure=Failure(error.kind, error.detail, error.hint))
        except msgspec.DecodeError:
            return Answer(failure=Failure("usage", "bentod does not understand this order"))

    async def _top(self, _: str) -> Answer:
        instances = self._instances
        return Answer(
            top=Top(
                name=self._name,
                capacity=instances.capacity,
                load=instances.load,
                draining=self._orders.draining,
                refused=self._door.refused,
                blocked=tuple(function.hex() for function in self._orders.blocked),
                instances=tuple(_row(instance) for instance in instances),
            )
        )

    async def _kill(self, name: str) -> Answer:
        found = [instance for instance in self._instances if instance.name.startswith(name)]
        if not name or len(found) != 1:
            what = "names no instance" if not name or not found else "names several instances"
            raise BoxError(f"{name!r} {what}", "bentod top shows what runs")
        await self._instances.end(found[0])
        return self._done(1)

    async def _block(self, name: str) -> Answer:
        function = _hash(name)
        self._orders.block(function)
        found = [one for one in self._instances if one.terms.function == function]
        await asyncio.gather(*(self._instances.end(instance) for instance in found))
        return self._done(len(found))

    async def _unblock(self, name: str) -> Answer:
        if not self._orders.unblock(_hash(name)):
            raise UsageError("this function is not blocked", "bentod top lists those that are")
        return self._done()

    async def _drain(self, _: str) -> Answer:
        self._orders.draining = True
        return self._done()

    async def _resume(self, _: str) -> Answer:
        self._orders.draining = False
        return self._done()

    def _done(self, ended: int = 0) -> Answer:
        return Answer(done=Done(ended, len(self._instances)))


_HANDLERS: dict[str, Callable[[OperatorDoor, str], Awaitable[Answer]]] = {
    "top": OperatorDoor._top,
    "kill": OperatorDoor._kill,
    "block": OperatorDoor._block,
    "unblock": OperatorDoor._unblock,
    "drain": OperatorDoor._drain,
    "resume": OperatorDoor._resume,
}


def _hash(text: str) -> bytes:
    try:
        return read_hash(text)
    except ValueError as error:
        raise UsageError(str(error), "bentod top --json shows those that run") from None


def _row(instance: Instance) -> Row:
    counters, tor = instance.ways.counters, instance.ways.tor
    cpu, memory = 0.0, 0
    with contextlib.suppress(OSError):  # it ends at this very moment
        usage = instance.sandbox.usage()
        cpu, memory = usage.cpu, usage.memory
    return Row(
        id=instance.name,
        image=instance.terms.manifest.image,
        function=instance.terms.function.hex(),
        expires=instance.expires,
        cpu_seconds=round(cpu, 3),
        memory=memory,
        bytes_in=instance.bytes_in,
        bytes_out=instance.bytes_out,
        network_in=counters.bytes_in,
        network_out=counters.bytes_out,
        connections=counters.open,
        sessions=len(instance.relays),
        refused=counters.refused + (sum(tor.refusals.values()) if tor else 0),
    )
