"""Carrier and ferry, without gVisor: the same two programs on Linux, bytes and ends moved faithfully."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bento.errors import HostError
from bento.sandbox import ferry, handshake
from bento.sandbox.carrier import Carrier

# A guest that dials its egress listener as often as it is told, and echoes what comes in.
_GUEST = """
import _socket, posix, sys
posix.dup2(0, 3)
egress = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
egress.bind(("127.0.0.1", 0))
egress.listen(16)
door = _socket.socket(fileno=3)
control = _socket.socket(fileno=door._accept()[0])
assert control.recv(1) == b"C"
control.sendmsg([b"ready"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, egress.fileno().to_bytes(4, "little"))])
while True:
    one = _socket.socket(fileno=door._accept()[0])
    first = one.recv(1)
    if first == b"D":
        out = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        out.connect(egress.getsockname())
        one.sendall(first)
        one.close()
        one = out
    try:
        if first == b"D":
            one.sendall(first)
        while part := one.recv(1 << 16):
            one.sendall(part)
    except OSError:  # nobody was there
        pass
    one.close()
"""


@pytest.fixture
async def path(folder: Path) -> AsyncIterator[Path]:
    """The socket of a ferried guest."""
    path = folder / "one.sock"
    carrier = Carrier()
    with socket.socket(socket.AF_UNIX) as way_in:
        way_in.bind(str(path))
        way_in.listen()
        text = Path(ferry.__file__).read_text() + "\nferry()\n" + _GUEST
        process = subprocess.Popen(
            ["/usr/bin/python3", "-I", "-S", "-c", text],
            stdin=carrier.theirs.fileno(),
            start_new_session=True,
        )
        control = handshake.connect(path)
        listener = carrier.open(path, way_in.dup())
        await handshake.carried_ready(control)
    listeners[path] = listener
    yield path
    carrier.close()
    carrier.close()
    assert await asyncio.to_thread(process.wait) == 0  # it ends with the carrier
    os.killpg(process.pid, signal.SIGKILL)  # the guest, which ends with its jail elsewhere
    assert not path.with_suffix(".egress").exists()
    listeners.pop(path).close()
    control.close()
    path.unlink()


listeners: dict[Path, socket.socket] = {}


async def test_connections_come_in(path: Path) -> None:
    async def echo(size: int) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"e" + bytes(size))
        writer.write_eof()
        assert await reader.read() == bytes(size)
        writer.close()

    for size in (0, 1, 100_000, 3_000_000):
        await echo(size)


async def test_connections_go_out(path: Path) -> None:
    loop = asyncio.get_running_loop()
    for number in range(5):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"D")
        accepted, _ = await loop.sock_accept(listeners[path])
        with accepted:
            assert await reader.read() == b"D"
            assert await loop.sock_recv(accepted, 1) == b"D"
            data = bytes([number]) * 200_000
            sending = asyncio.create_task(loop.sock_sendall(accepted, data))
            got = b""
            while len(got) < len(data):
                got += await loop.sock_recv(accepted, 1 << 16)
            assert got == data
            await sending
        writer.close()


async def test_a_proxy_that_has_closed_is_an_end_inside(path: Path) -> None:
    path.with_suffix(".egress").unlink()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"D")
    assert await reader.read() == b"D"  # it dialled, and was told that there is nobody
    writer.close()
    again, writer = await asyncio.open_unix_connection(path)
    writer.write(b"ehello")
    writer.write_eof()
    assert await again.read() == b"hello"
    writer.close()


async def test_descriptors_where_none_are_due_are_refused() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        socket.send_fds(theirs, [b"ready"], [0])
        with pytest.raises(HostError):
            await handshake.carried_ready(ours)
