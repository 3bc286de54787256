"""Egress: what the proxy costs beside a direct transfer and a direct connection between the same two
processes, and what the guest's half costs before anybody uses it.

Run it as `python -m benchmarks.egress`."""

from __future__ import annotations

import asyncio
import json
import marshal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

from benchmarks.figures import Figure, median
from bento.egress import (
    DestinationLimits,
    DirectRoute,
    EgressLimits,
    EgressPolicy,
    EgressProxy,
    EgressRules,
    TableResolver,
)
from bento.tor.exit_policy import ExitPolicy

WEB_HOST = "127.80.9.1"
SIZE = 512 << 20  # bytes of one transfer
CONNECTIONS = 300
ROUNDS = 7
NETWORK = Path(__file__).parents[1] / "src/bento/guest/network.py"

SENDER = f"""
import socket
listener = socket.create_server(({WEB_HOST!r}, 0), backlog=512)
print(listener.getsockname()[1], flush=True)
block = bytes(1 << 18)
while True:
    sock, _ = listener.accept()
    with sock:
        left = int(sock.recv(20) or 0)
        while left > 0:
            left -= sock.send(block[:left])
"""

HEAD = """
import socket, sys, time
via, port, count = map(int, sys.argv[1:])
def connect():
    if not via:
        return socket.create_connection((HOST, port))
    sock = socket.create_connection(("127.0.0.1", via))
    sock.sendall(b"\\5\\1\\0\\5\\1\\0\\1" + socket.inet_aton(HOST) + port.to_bytes(2, "big"))
    answer = b""
    while len(answer) < 12:
        answer += sock.recv(12 - len(answer))
    assert answer[3] == 0, answer
    return sock
"""

RECEIVER = (
    f"HOST = {WEB_HOST!r}\n{HEAD}"
    + """
view = memoryview(bytearray(1 << 18))
with connect() as sock:
    sock.sendall(b"%d" % count)
    began, size = time.perf_counter(), 0
    while more := sock.recv_into(view):
        size += more
print(size / 1e6 / (time.perf_counter() - began))
"""
)

CONNECTOR = (
    f"HOST = {WEB_HOST!r}\n{HEAD}"
    + """
began = time.perf_counter()
for _ in range(count):
    connect().close()
print((time.perf_counter() - began) * 1e3 / count)
"""
)

INSTALL = """
import marshal, sys, time
code = marshal.loads(sys.stdin.buffer.read())
began = time.perf_counter()
network = type(sys)("network")
exec(code, network.__dict__)
network.install(1080)
installed = time.perf_counter()
import socket
print(installed - began, time.perf_counter() - installed)
"""


@asynccontextmanager
async def proxy() -> AsyncIterator[int]:
    """A proxy without quotas that bite; gives its port."""
    import socket

    many = 1e9
    limits = EgressLimits(
        total_bytes=1 << 50,
        bytes_per_second=1 << 40,
        burst_bytes=1 << 40,
        connections=1 << 20,
        connections_per_second=many,
        burst_connections=1 << 30,
        destination=DestinationLimits(1 << 30, many, 1 << 30),
    )
    policy = EgressPolicy(
        rules=EgressRules.parse(["*:*"]),
        exit_policy=ExitPolicy.parse("accept *:*"),
        exceptions=(ip_network("127.80.0.0/16"),),
    )
    egress = EgressProxy(policy, limits, DirectRoute(TableResolver({})))
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    await egress.serve(listener)
    try:
        yield listener.getsockname()[1]
    finally:
        await egress.close()


async def compare(code: str, port: int, count: int) -> tuple[float, float]:
    """Medians through the proxy and directly, taken in turns."""
    taken: dict[bool, list[float]] = {True: [], False: []}
    async with proxy() as via:
        for _ in range(ROUNDS):
            for proxied in (True, False):
                process = await asyncio.create_subprocess_exec(
                    *(
                        sys.executable,
                        "-c",
                        code,
                        str(via if proxied else 0),
                        str(port),
                        str(count),
                    ),
                    stdout=asyncio.subprocess.PIPE,
                )
                taken[proxied].append(float((await process.communicate())[0]))
    return median(taken[True]), median(taken[False])


def guest_ms() -> tuple[float, float, float]:
    """Installing, then the first `import socket` with the patches, and the same without, in ms."""
    code = marshal.dumps(compile(NETWORK.read_text(), "network", "exec"))
    bare = marshal.dumps(compile("def install(port): pass", "network", "exec"))
    command = ["/usr/bin/python3", "-I", "-S", "-c", INSTALL]
    runs: dict[bytes, list[list[float]]] = {code: [], bare: []}
    for _ in range(3 * ROUNDS):
        for blob, times in runs.items():
            done = subprocess.run(command, input=blob, capture_output=True, check=True)
            times.append([float(word) * 1e3 for word in done.stdout.split()])
    return (
        median([install for install, _ in runs[code]]),
        median([first for _, first in runs[code]]),
        median([first for _, first in runs[bare]]),
    )


def measure() -> Iterator[Figure]:
    with subprocess.Popen([sys.executable, "-c", SENDER], stdout=subprocess.PIPE) as sender:
        assert sender.stdout is not None
        port = int(sender.stdout.readline())
        try:
            value, reference = asyncio.run(compare(RECEIVER, port, SIZE))
            yield Figure(
                "egress", value, "MB/s", reference, 0.25, at_least=True, what="bulk v. direct"
            )
            value, reference = asyncio.run(compare(CONNECTOR, port, CONNECTIONS))
            yield Figure("egress", value, "ms", reference, 20, limit=3, what="connect v. direct")
        finally:
            sender.kill()
    install, patched, bare = guest_ms()
    yield Figure(
        "egress", install, "ms", bare, 0.1, what="installing guest.network v. importing socket"
    )
    yield Figure("egress", patched, "ms", bare, 1.25, what="importing socket patched v. as it is")


if __name__ == "__main__":
    began = time.perf_counter()
    for figure in measure():
        print(json.dumps(figure.line(), separators=(",", ":")), flush=True)
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
