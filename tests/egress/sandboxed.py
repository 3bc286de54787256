"""Helpers: user code in a network namespace of its own, and small servers on 127.80.x.x."""

from __future__ import annotations

import asyncio
import socket
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

from bento.egress import EgressLimits, EgressPolicy, EgressProxy, EgressRules, Route
from bento.tor.exit_policy import ExitPolicy

HERE = Path(__file__).parent
NETWORK = HERE.parents[1] / "src/bento/guest/network.py"
WEB = ip_network("127.80.0.0/16")
WEB_HOST = "127.80.7.1"


def web_policy(*rules: str, **box: object) -> EgressPolicy:
    """A box whose web is 127.80.0.0/16, and a function with these egress rules."""
    known = {"exit_policy": ExitPolicy.parse("accept *:*, accept6 *:*"), "exceptions": (WEB,)}
    return EgressPolicy(rules=EgressRules.parse(rules), **{**known, **box})  # type: ignore[arg-type]


async def run_inside(
    code: str, serve: Callable[[socket.socket], Awaitable[None]], guard: float = 240.0
) -> str:
    """Runs `code` by the sandbox's Python; its listener is given to `serve`. Returns what it
    printed. A traceback of the code is an AssertionError here."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = await asyncio.create_subprocess_exec(
            *("/usr/bin/python3", "-I", "-S", HERE / "inside.py", str(theirs.fileno()), NETWORK),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
            env={"PYTHONWARNINGS": "error::ResourceWarning"},
        )
        try:
            assert process.stdin is not None
            process.stdin.write(textwrap.dedent(code).encode())
            process.stdin.close()
            theirs.close()
            await serve(await asyncio.to_thread(_receive_listener, ours))
            ours.send(b"!")
            async with asyncio.timeout(guard):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, err.decode()
    return out.decode()


def _receive_listener(ours: socket.socket) -> socket.socket:
    message, fds, _, _ = socket.recv_fds(ours, 16, 1)
    assert message == b"ready", "the child failed before it had a listener"
    return socket.socket(fileno=fds[0])


@asynccontextmanager
async def proxy(
    policy: EgressPolicy, route: Route, limits: EgressLimits | None = None
) -> AsyncIterator[EgressProxy]:
    egress = EgressProxy(policy, limits or EgressLimits(), route)
    try:
        yield egress
    finally:
        await egress.close()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(handler: Handler, host: str = WEB_HOST, ssl: object = None) -> AsyncIterator[int]:
    """A TCP server; gives its port."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(guarded, host, 0, ssl=ssl)  # type: ignore[arg-type]
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def web_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every HTTP request with a page that names the Host asked for."""
    request = (await reader.readuntil(b"\r\n\r\n")).decode()
    host = next(
        line.split(":", 1)[1].strip()
        for line in request.split("\r\n")
        if line.lower().startswith("host:")
    )
    body = f"page of {host.rpartition(':')[0] or host}".encode()
    writer.write(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    await writer.drain()


if __name__ == "__main__":
    sys.exit("a helper of the tests")
