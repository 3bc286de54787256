"""One user of Cover, a process of its own: `python -m tests.functions.cover.covered CONTROL SOCKS BOX FOLDER
RATE DELAY` covers a stream to BOX until SIGTERM; commands find it at FOLDER/socket. Prints `ready`, and at
the end how many cells were sent, received and missed.

Its streams lead back to the function itself, not to another box: of the private network's few relays, which share
two cores with the user, some would carry the far side and the near one, and be seen to do so.

With DELAY > 0 the sender is a leaky one: a slot in which there is something to send takes so many seconds more
from the timer to its cell, as if something were done there.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

from bento.client.network import Network, TorEndpoints
from bento.functions.cover import client
from bento.functions.cover.frames import JUNK
from bento.functions.cover.terms import Terms, read_slot
from bento.protocol.manifest import amended, manifest_text


class LeakySender(client.NearEnd):
    delay = 0.0

    def _slot(self, slots):
        if self._ready[4:5] not in (b"", bytes((JUNK,))):  # what comes first in it
            time.sleep(self.delay)
        super()._slot(slots)


ECHO = b"""

def dial(name):
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.connect(sock.getsockname())  # TCP knows nothing against it: what is sent there comes back
    return sock
"""


def echoing():
    """The function as it is but for the place that its streams lead to."""
    packed = BytesIO()
    with ZipFile(BytesIO(client.build_upload())) as old, ZipFile(packed, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (ECHO if name == "cover/guest.py" else b""))
    return packed.getvalue()


async def main(control, socks, name, folder, rate, delay):
    LeakySender.delay = delay
    terms = Terms(read_slot(rate))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen()
        network = await Network.open(TorEndpoints(control, socks), cache=folder / "cache.json")
        async with network, await network.box(name) as box:
            upload = echoing()
            manifest = amended(manifest_text(upload), lifetime="20m")
            instance = await box.install(upload, manifest=manifest)
            session = await instance.invoke(slot=terms.slot)
            near = (LeakySender if delay else client.NearEnd)(session, terms, listener)
            running = asyncio.create_task(near.run())
            print("ready", flush=True)
            await stop.wait()
            near.stop()
            report = await running
            await session.detach()
            await instance.shutdown()
    print(report.sent, report.received, report.missed)


if __name__ == "__main__":
    control, socks, name, folder, rate, delay = sys.argv[1:]
    asyncio.run(main(control, socks, name, Path(folder), rate, float(delay)))
