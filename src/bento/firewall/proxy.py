"""The firewall's only I/O: function's socket <-> `FunctionFilter` <-> the functions' tor.

`Firewall` stands in front of one tor. It keeps a control connection of its own (the keeper's)
and opens one more for every function it serves, so that a function's onion services end with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from bento.errors import TorError
from bento.firewall import commands as c
from bento.firewall import limits, replies
from bento.firewall.filter import End, FunctionFilter, Hold, Output, ToGuest, ToTor
from bento.firewall.judge import Settings
from bento.firewall.keeper import Keeper
from bento.firewall.link import Link, open_link
from bento.tor.control_codec import Event, Reply, ReplyParser, encode_command

_READ = 65536
_OPENING_COMMANDS = 2
_PARTING_SECONDS = 10.0  # for tor to take its streams back; it answers within a millisecond


@dataclass(frozen=True, slots=True)
class Report:
    """What one connection of a function did: for the operator's page, and for `record`.

    `manifest_line` would have allowed all that was used; `refusals` counts by command; no
    argument of any command is kept.
    """

    manifest_line: str
    refusals: dict[str, int]
    dropped_events: int


class Firewall:
    """The firewall of one tor. Make it with `open`; `closed` is done when it works no longer:
    with None after `close`, else with the TorError that says why."""

    def __init__(self, control: str, link: Link) -> None:
        self.closed: asyncio.Future[TorError | None] = asyncio.get_running_loop().create_future()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._control = control
        self._link = link
        self._keeper = Keeper()
        self._connections: dict[str, _Connection] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._unanswered = 0
        self._answered = asyncio.Event()
        self._task = asyncio.create_task(self._keep())

    @classmethod
    async def open(cls, control: str) -> Firewall:
        """Take the tor at `control` (`unix:/path` or `HOST:PORT`) under the firewall.

        From here tor attaches no stream by itself. Raises TorError.
        """
        link = await open_link(control)
        # The events first: no stream may come unseen after the option.
        firewall = cls(control, link)
        firewall._send("SETEVENTS STREAM")
        firewall._send("SETCONF __LeaveStreamsUnattached=1")
        await asyncio.wait((firewall.closed, firewall._ready), return_when="FIRST_COMPLETED")
        if firewall.closed.done() and (problem := firewall.closed.result()) is not None:
            await firewall.close()
            raise problem
        return firewall

    async def serve(self, guest: socket.socket, settings: Settings) -> Report:
        """Serve one function's control connection until either side ends; owns `guest`.

        When it returns or is cancelled, the function's circuits, waiting streams and onion
        services are gone from tor. A second connection of the same function is refused, for the
        numbers of its manifest hold for the function as a whole. Raises TorError if tor is gone.
        """
        guest.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=guest)
        try:
            if settings.isolation_key in self._connections:
                writer.write(
                    replies.one_line(510, "Bento firewall: a function has one control connection")
                )
                return Report("tor = []", {"second connection": 1}, 0)
            return await self._serve(reader, writer, settings)
        finally:
            writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: Settings
    ) -> Report:
        key = settings.isolation_key
        connection = self._connections[key] = _Connection(self._keeper, key, reader, writer)
        self._idle.clear()
        try:
            connection.begin(await open_link(self._control), settings)
            task = asyncio.create_task(connection.run())
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                connection.leave()
                await asyncio.wait((task,))
                raise
            return connection.report()
        finally:
            del self._connections[key]
            self._keeper.hold(key, False)
            self._close_circuits(connection.leftovers())
            if not self._connections:
                self._idle.set()

    async def close(self) -> None:
        """End all connections, tidily, and give the streams back to tor."""
        for connection in tuple(self._connections.values()):
            connection.leave()
        await self._idle.wait()
        if not self.closed.done():
            # Until tor says so, streams still come to us: the keeper goes on meanwhile.
            self._send("SETCONF __LeaveStreamsUnattached=0")
            self.closed.set_result(None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PARTING_SECONDS):
                    await self._answered.wait()
        self._task.cancel()
        await asyncio.wait((self._task,))
        await self._link.close()

    def _close_circuits(self, circuits: Iterable[int]) -> None:
        """For a function whose own connection to tor broke before it could say so."""
        for circuit in circuits:
            self._send(c.CloseCircuit(circuit).line())

    def _send(self, line: str) -> None:
        self._unanswered += 1
        self._answered.clear()
        self._link.writer.write(encode_command(line))

    async def _keep(self) -> None:
        parser = ReplyParser()
        problem = TorError("the functions' tor closed its control connection")
        agreed = 0
        try:
            while data := await self._link.reader.read(_READ):
                for message in parser.feed(data):
                    if isinstance(message, Event):
                        for line in self._keeper.event(message):
                            self._send(line)
                        continue
                    self._unanswered -= 1
                    if not self._unanswered:
                        self._answered.set()
                    if not self._ready.done():
                        agreed += self._agreed(message)
                        if agreed == _OPENING_COMMANDS:
                            self._ready.set_result(None)
        except TorError as error:
            problem = error
        except OSError:
            pass
        self._answered.set()
        if not self.closed.done():
            self.closed.set_result(problem)

    def _agreed(self, reply: Reply) -> int:
        if not reply.is_ok:
            raise TorError("the functions' tor does not accept the firewall", reply.text)
        return 1


class _Connection:
    """One function's two sockets around its filter."""

    def __init__(
        self,
        keeper: Keeper,
        key: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._keeper = keeper
        self._key = key
        self._reader = reader
        self._writer = writer
        self._filter: FunctionFilter | None = None
        self._link: Link | None = None
        self._ended = asyncio.Event()
        self._progress = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._dropped = 0

    def begin(self, link: Link, settings: Settings) -> None:
        self._link = link
        settings = replace(settings, tor_version=link.version or settings.tor_version)
        self._filter = FunctionFilter(settings, time.monotonic())

    async def run(self) -> None:
        """Until both sides are done with each other."""
        assert self._filter is not None and self._link is not None
        tasks = [
            asyncio.create_task(self._read_tor(self._filter, self._link)),
            asyncio.create_task(self._read_guest(self._filter)),
        ]
        self._put(self._filter.start())
        try:
            await self._ended.wait()
        finally:
            for handle in (self._timer, self._deadline):
                if handle is not None:
                    handle.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._link.close()

    def leave(self) -> None:
        """As if the function had hung up."""
        if self._filter is None:
            self._ended.set()
        else:
            self._put(self._filter.guest_gone())

    def leftovers(self) -> list[int]:
        return self._filter.leftovers if self._filter is not None else []

    def report(self) -> Report:
        assert self._filter is not None
        line = self._filter.usage.grants().line()
        return Report(line, dict(self._filter.refusals), self._dropped)

    async def _read_guest(self, machine: FunctionFilter) -> None:
        try:
            while True:
                await self._writer.drain()
                while not machine.wants_guest:
                    self._progress.clear()
                    await self._progress.wait()
                data = await self._reader.read(limits.MAX_BACKLOG)
                if not data:
                    break
                self._put(machine.from_guest(data, time.monotonic()))
        except OSError:
            pass
        self._put(machine.guest_gone())

    async def _read_tor(self, machine: FunctionFilter, link: Link) -> None:
        try:
            while data := await link.reader.read(_READ):
                self._put(machine.from_tor(data, time.monotonic()))
        except OSError:
            pass
        self._put(machine.tor_gone())

    def _tick(self) -> None:
        self._timer = None
        assert self._filter is not None
        self._put(self._filter.tick(time.monotonic()))

    def _put(self, outputs: list[Output]) -> None:
        assert self._filter is not None and self._link is not None
        for output in outputs:
            match output:
                case ToTor(data):
                    self._link.writer.write(data)
                case ToGuest(data, is_event):
                    self._to_guest(data, is_event)
                case Hold(held):
                    self._keeper.hold(self._key, held)
                case End():
                    self._ended.set()
        self._progress.set()
        self._schedule(self._filter)

    def _to_guest(self, data: bytes, is_event: bool) -> None:
        if is_event and self._writer.transport.get_write_buffer_size() > limits.MAX_UNREAD:
            self._dropped += 1
        else:
            self._writer.write(data)

    def _schedule(self, machine: FunctionFilter) -> None:
        loop = asyncio.get_running_loop()
        if machine.wake_at is not None and self._timer is None:
            delay = max(0.0, machine.wake_at - time.monotonic())
            self._timer = loop.call_later(delay, self._tick)
        if machine.is_leaving and self._deadline is None:
            self._deadline = loop.call_later(limits.CLEANUP_SECONDS, self._ended.set)
