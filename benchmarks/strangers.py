"""A process full of strangers who ask a box for places, as many a second as told, and are refused.

    python -m benchmarks.strangers SOCKET REQUESTS_A_SECOND

Each line on its stdin is the other one of "begin" and "stop"; at each stop it prints one line of JSON: the
milliseconds that each refusal took. Every answer must be a refusal with a price, or it fails.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import sys
import time

from bento.protocol.door import Busy, ClientDoor, Create

WANTED = Create("", hashlib.sha256(b"").digest(), b"", b"")
_READ = 1 << 16


async def ask(path: str, taken: list[float]) -> None:
    """One request on a connection of its own, until its refusal has come."""
    loop = asyncio.get_running_loop()
    door = ClientDoor()
    began = time.perf_counter()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, path)
        await loop.sock_sendall(sock, door.request(WANTED))
        while data := await loop.sock_recv(sock, _READ):
            for message in door.receive(data):
                if isinstance(message, Busy):
                    assert message.work, "the box is full: raise its price before"
                    taken.append((time.perf_counter() - began) * 1e3)
                    return
    raise AssertionError("a stranger was not refused")


async def storm(path: str, rate: float, taken: list[float]) -> None:
    """Asks at its own pace, however late answers are: a flood does not wait politely."""
    due = time.perf_counter()
    async with asyncio.TaskGroup() as asking:
        while True:
            asking.create_task(ask(path, taken))
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


async def main(path: str, rate: float) -> None:
    while await asyncio.to_thread(sys.stdin.readline):
        taken: list[float] = []
        storming = asyncio.create_task(storm(path, rate, taken))
        await asyncio.wait(
            {storming, stop := asyncio.create_task(asyncio.to_thread(sys.stdin.readline))},
            return_when=asyncio.FIRST_COMPLETED,
        )
        if storming.done():
            storming.result()
        storming.cancel()
        await asyncio.wait({storming, stop})
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
