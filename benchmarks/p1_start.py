"""P1: from a client's Create to the first byte of the function's answer, at the box, full sandbox.

Measured at the box's own door with a client that does nothing but frames: the user's checks of policy
and signature are not the box's time. The bytes are those of a real client, in its two flights.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator

from tests.local_box import LocalBox, local_box

from benchmarks.figures import Figure, median, spawn_ms
from bento.protocol import limits, session, values
from bento.protocol.door import ClientDoor, Create, Created
from bento.protocol.padding import UPLOAD_CLASS, fill
from bento.protocol.wire import encode

ROUNDS = 41
HELLO = b"def main(api):\n    api.send(b'x')\n"
OWNER = bytes(limits.OWNER)
_MESSAGES = b"".join(
    encode(message)
    for message in (
        session.Load(len(HELLO), 0, OWNER),
        session.Code(HELLO),
        session.Invoke(bytes(limits.SESSION_ID), values.encode_values([[], {}]), False, OWNER),
    )
)
CODE = _MESSAGES + fill(len(_MESSAGES), UPLOAD_CLASS)
PYTHON = ("/usr/bin/python3", "-I", "-S", "-c", "print('x', flush=True)")
BWRAP = (
    *("bwrap", "--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib"),
    *("--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
)


async def first_byte_ms(local: LocalBox) -> float:
    door, reader = ClientDoor(), session.client_reader()
    request = door.request(Create("", hashlib.sha256(HELLO).digest(), b"", b""))
    source, sink = await asyncio.open_unix_connection(str(local.path))
    began = time.perf_counter()
    sink.write(request)
    while not any(isinstance(m, Created) for m in door.receive(await source.read(1 << 16))):
        pass
    sink.write(CODE)
    while not any(isinstance(m, session.Data) for m in reader.feed(await source.read(1 << 16))):
        pass
    taken = (time.perf_counter() - began) * 1e3
    sink.close()
    for instance in local.instances:
        await local.instances.end(instance)
    return taken


async def series(pool: int) -> tuple[list[float], list[float], list[float]]:
    """(ours, plain python, bare bubblewrap), taken in turns."""
    ours, plain, bare = [], [], []
    async with local_box(pool=pool) as local:
        for _ in range(ROUNDS):
            while pool and local.sandboxes.ready("python") < pool:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            ours.append(await first_byte_ms(local))
            plain.append(await asyncio.to_thread(spawn_ms, PYTHON))
            bare.append(await asyncio.to_thread(spawn_ms, (*BWRAP, *PYTHON)))
    return ours, plain, bare


def measure() -> Iterator[Figure]:
    hit, plain, _ = asyncio.run(series(pool=2))
    yield Figure(
        *("P1", median(hit), "ms", median(plain), 0.5),
        limit=5.0,
        what="pool hit v. plain python3 -I -S",
    )
    miss, _, bare = asyncio.run(series(pool=0))
    yield Figure(
        *("P1", median(miss), "ms", median(bare), 1.5), what="pool miss v. bare bwrap python3"
    )
