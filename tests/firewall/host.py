"""The box's part, for tests with a real tor: a socket for each function, behind one Firewall."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from bento.firewall import Firewall, Grants, Report, Settings, new_isolation_key

# Debian's own python and stem, which is what stands in a function's sandbox.
DEBIAN_PYTHON = "/usr/bin/python3"
PROGRAMS = Path(__file__).parent / "programs"
ALL = Grants.everything()


class Host:
    """Accepts the control connections of functions and serves them."""

    def __init__(self, firewall: Firewall, folder: Path) -> None:
        self.firewall = firewall
        self.folder = folder
        self.reports: list[Report] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._names = 0

    def function(self, grants: Grants = ALL, **settings: object) -> tuple[str, Settings]:
        """A new function: the path of its control socket, and its settings."""
        self._names += 1
        path = str(self.folder / f"control{self._names}")
        made = Settings(
            isolation_key=new_isolation_key(),
            grants=grants,
            socks_listeners=("127.0.0.1:9050",),
            onion_socket=str(self.folder / "onion"),
        )
        made = replace(made, **settings)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)
        self._spawn(self._accept(listener, made))
        return path, made

    def _spawn(self, work) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket, settings: Settings) -> None:
        with listener:
            while True:
                guest, _ = await asyncio.get_running_loop().sock_accept(listener)
                self._spawn(self._serve(guest, settings))

    async def _serve(self, guest: socket.socket, settings: Settings) -> None:
        self.reports.append(await self.firewall.serve(guest, settings))

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.firewall.close()


@asynccontextmanager
async def host(control: str) -> AsyncIterator[Host]:
    with tempfile.TemporaryDirectory(prefix="firewall-", dir="/tmp") as folder:
        made = Host(await Firewall.open(control), Path(folder))
        try:
            yield made
        finally:
            await made.close()


@asynccontextmanager
async def echo(**where: object) -> AsyncIterator[int]:
    """A server that answers every line with itself; yields its port (0 for a unix socket)."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(b"echo " + line)
        except ConnectionError:
            pass
        finally:
            writer.close()

    if "path" in where:
        server = await asyncio.start_unix_server(answer, **where)
    else:
        server = await asyncio.start_server(answer, **where)
    async with server:
        name = server.sockets[0].getsockname()
        yield name[1] if isinstance(name, tuple) else 0


async def open_socks(
    proxy: str, host: str, port: int, username: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream through tor's SocksPort, step by step; ConnectionError(code) if tor says no."""
    address, _, proxy_port = proxy.rpartition(":")
    reader, writer = await asyncio.open_connection(address, int(proxy_port))
    writer.write(b"\x05\x01\x02")
    assert await reader.readexactly(2) == b"\x05\x02"
    writer.write(bytes([1, len(username)]) + username.encode() + b"\x01x")
    assert await reader.readexactly(2) == b"\x01\x00"
    name = host.encode()
    writer.write(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
    reply = await reader.readexactly(10)
    if reply[1]:
        writer.close()
        raise ConnectionError(reply[1])
    return reader, writer


class Program:
    """A stem program in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, name: str, **settings: object) -> Program:
        return cls(
            await asyncio.create_subprocess_exec(
                DEBIAN_PYTHON,
                str(PROGRAMS / name),
                json.dumps(settings),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=2**24,
            )
        )

    async def result(self) -> dict:
        """The next JSON line; the program's own error if there is none."""
        line = await self.process.stdout.readline()
        if not line:
            raise AssertionError((await self.process.stderr.read()).decode())
        return json.loads(line)

    async def ask(self, line: str) -> dict:
        self.process.stdin.write(line.encode() + b"\n")
        return await self.result()

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
