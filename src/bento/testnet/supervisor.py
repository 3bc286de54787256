"""The background process of a network: it owns every other one.

`python -m bento.testnet.supervisor --home DIR --boxes N --relays N --delay-ms D [--owner PID]`

Invariant: it holds the lock of its folder as long as it lives, and when it ends by itself (asked
to, by SIGTERM, with its owner, or after a start that failed or that nobody waits for any more)
nothing of the network is left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from bento.errors import BentoError, HostError
from bento.testnet import saved
from bento.testnet.addresses import claim
from bento.testnet.cluster import Cluster
from bento.testnet.folders import Folders
from bento.testnet.layout import Layout, Size
from bento.testnet.leftovers import clear
from bento.testnet.messages import Answer, Failure, Status
from bento.testnet.processes import BRIEF_GRACE, Table, descendants, end, reap_adopted, reap_all
from bento.testnet.reception import Reception

_log = logging.getLogger(__name__)

_LOCK_PATIENCE = 60.0
"""Seconds for an earlier supervisor to end its processes."""
_FIRST_WATCHER = 20.0
"""Seconds for whoever started us to come and watch."""
_REAP_EVERY = 5.0  # seconds
_TAKEN_DOWN = HostError("the test network was taken down while it started")
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


class Supervisor:
    """One network, from its start to its end."""

    def __init__(self, size: Size, folders: Folders) -> None:
        self._size = size
        self._folders = folders
        self._stopping = asyncio.Event()
        self._reception = Reception(self._status, self._stopping.set)
        self._table = Table(folders.processes)
        self._cluster: Cluster | None = None
        self._claim: socket.socket | None = None
        self._failure: BentoError | None = None

    async def run(self, owner: int | None) -> None:
        """Serve until asked to stop. The lock is held, the folders are there and clear."""
        self._table.put("supervisor", os.getpid())
        await self._reception.open(self._folders.socket)
        tasks = [
            asyncio.create_task(work)
            for work in (self._start(), self._stop_when_abandoned(), _reap_adopted())
        ]
        try:
            with self._stop_on_signals(), self._stop_with(owner):
                await self._stopping.wait()
        finally:
            self._reception.shut()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end_everything()
            self._reception.conclude(Answer(failure=Failure.of(self._failure or _TAKEN_DOWN)))
            await self._reception.close()

    async def _start(self) -> None:
        try:
            layout, self._claim = claim(self._layout, saved.last_net(self._folders.data))
            saved.prepare(layout)
            self._cluster = Cluster(layout, self._reception.tell, self._table.put)
            await self._cluster.start()
        except BentoError as error:
            await self._fail(error)
        except Exception:
            _log.exception("the start failed")
            hint = f"see {self._folders.log}"
            await self._fail(HostError("the test network could not start", hint))
        else:
            self._reception.conclude(self._status())

    async def _fail(self, error: BentoError) -> None:
        _log.error("%s", error)
        self._failure = error  # told when everything has ended
        await self._reception.first_watcher(_FIRST_WATCHER)
        self._stopping.set()

    async def _end_everything(self) -> None:
        if self._cluster is not None:
            await self._cluster.stop()
        # What our children started and did not end: we adopted it (see `main`).
        while left := descendants(os.getpid()):
            _log.warning("ending what nobody ended: %s", ", ".join(each.name for each in left))
            await end(left, BRIEF_GRACE)
        reap_all()
        self._folders.remove_run()
        if self._claim is not None:
            self._claim.close()

    def _layout(self, net: int) -> Layout:
        return Layout(self._size, net, self._folders.data, self._folders.run)

    def _status(self) -> Answer:
        return Answer(
            status=self._cluster.status() if self._cluster else Status(),
            boxes=self._size.boxes,
            relays=self._size.relays,
            delay_ms=self._size.delay_ms,
        )

    async def _stop_when_abandoned(self) -> None:
        if await self._reception.first_watcher(_FIRST_WATCHER):
            await self._reception.abandoned.wait()
        self._stopping.set()

    @contextlib.contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        try:
            yield
        finally:
            # Another one must not cut the clean-up short.
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, lambda: None)

    @contextlib.contextmanager
    def _stop_with(self, owner: int | None) -> Iterator[None]:
        """Stop when the process `owner` has ended."""
        if owner is None:
            yield
            return
        loop = asyncio.get_running_loop()
        try:
            pidfd = os.pidfd_open(owner)
        except ProcessLookupError:
            self._stopping.set()
            yield
            return
        loop.add_reader(pidfd, self._stopping.set)
        try:
            yield
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)


async def _reap_adopted() -> None:
    seen: set[int] = set()
    while True:
        seen = reap_adopted(seen)
        await asyncio.sleep(_REAP_EVERY)


async def supervise(size: Size, home: Path, owner: int | None) -> None:
    """Run a network of `home` until it is stopped. Raises HostError if another one does."""
    folders = Folders.of(home)
    async with folders.locked("supervisor.lock", _LOCK_PATIENCE):
        for name in await clear(folders):
            _log.warning("ended %s, left by an earlier supervisor", name)
        folders.make()
        await Supervisor(size, folders).run(owner)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bento.testnet.supervisor")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--boxes", type=int, required=True)
    parser.add_argument("--relays", type=int, required=True)
    parser.add_argument("--delay-ms", type=float, required=True)
    parser.add_argument("--owner", type=int)
    parser.add_argument("--lifeline", type=int, required=True)
    arguments = parser.parse_args()
    # Whoever started us holds the other end and learns from it when we are gone; none of our
    # children may keep it open.
    os.set_inheritable(arguments.lifeline, False)
    if os.fork():
        os._exit(0)  # so that we are nobody's child: no zombie of us can stay
    # Grandchildren whose parent died become our children, so that we can end them.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    size = Size(arguments.boxes, arguments.relays, arguments.delay_ms)
    try:
        asyncio.run(supervise(size, arguments.home, arguments.owner))
    except BentoError as error:
        _log.error("%s", error)
        raise SystemExit(error.exit_status) from None


if __name__ == "__main__":
    main()
