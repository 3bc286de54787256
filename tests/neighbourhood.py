"""Boxes without Tor whose functions may use one another: every connection between them is a unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from tests.local_box import local_box

from bento.box.neighbours import Neighbours
from bento.client.box import Box, BoxName
from bento.client.route import UnixRoute
from bento.errors import TorError
from bento.tor.announcement import Announcement
from bento.tor.boxes import RelayEntry
from bento.tor.onion_service import encode_address

NO_TOR = {"functions_socks": "unix:/nowhere", "functions_control": "unix:/nowhere"}
"""Nobody starts a tor for these boxes: their neighbours are at hand."""


class Nearby(Neighbours):
    """Knows the boxes it is told of. `connections` are (box, circuit) of each connection made; while `cut`,
    none is, and those there are have been broken."""

    def __init__(self):
        self.paths = {}
        self.entries = []
        self.connections = []
        self.open = []
        self.cut = False

    async def all(self, max_age=0.0):
        return self.entries

    async def connect(self, entry, key, user):
        if self.cut:
            raise TorError("the other box cannot be reached: the network is cut")
        self.connections.append((entry.nickname, user))
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, str(self.paths[entry.nickname]))
        self.open.append(sock)
        return sock

    def break_all(self):
        for sock in self.open:
            with contextlib.suppress(OSError):  # it has ended
                sock.shutdown(socket.SHUT_RDWR)
        self.open.clear()

    def add(self, name, local, key=""):
        number = len(self.entries) + 1
        announced = Announcement(
            onion=encode_address(bytes([number]) * 32), key=key or local.identity.key_hash
        )
        fingerprint = f"{number:02X}" * 20
        nobody = frozenset()
        self.entries.append(
            RelayEntry(fingerprint, name, "127.0.0.1", 1, nobody, 1, nobody, "", announced)
        )
        self.paths[name] = local.path
        local.at = BoxName(name, fingerprint, local.identity.key_hash)


def box_of(local):
    """A client's handle of a box with the name that its neighbours know."""
    return Box(local.at, UnixRoute(str(local.path)))


@contextlib.asynccontextmanager
async def neighbourhood(*names, boxes=8, **options):
    """Boxes that know one another: a dict by name, and what connects them."""
    nearby = Nearby()
    async with contextlib.AsyncExitStack() as stack:
        found = {}
        for name in names:
            found[name] = await stack.enter_async_context(
                local_box(neighbours=nearby, tor=NO_TOR, boxes=boxes, **options)
            )
            nearby.add(name, found[name])
        yield found, nearby
        nearby.break_all()
