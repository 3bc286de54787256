"""Streams of our own on a tor that leaves streams unattached.

Invariant: a stream is attached only if its SOCKS user name is one that this object has just made;
everybody else's streams are not touched. A stream that fails says why, and nothing of it is left:
neither in tor (CLOSESTREAM) nor here.

    ours, by user name      STREAM NEW       -> ATTACHSTREAM id circuit
    attached, by id         SUCCEEDED        -> nothing more to do
                            DETACHED         -> CLOSESTREAM, the reason to the opener
                            FAILED, CLOSED   -> the reason to the opener

Tor itself does not answer the SOCKS request of a DETACHED stream: it waits for us, for two minutes.

All streams of one circuit have one user name: tor holds streams of different names on one circuit
for a mistake of its own. So that each NEW still belongs to one opener, they ask in turns: a turn
ends when tor has named the stream, which takes no network.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import Counter
from functools import partial
from typing import Any

from bento.errors import TorError
from bento.tor.control_codec import Event, Reply
from bento.tor.controller import Controller
from bento.tor.reasons import stream_failure
from bento.tor.socks import Stream
from bento.tor.socks import open_stream as open_socks_stream

# Tor's "choose yourself" (control-spec 3.13); so many times for one stream that fails.
_ANY_CIRCUIT = "0"
_ANY_ATTEMPTS = 3
# What tor does without the network, as naming a stream or saying why it failed, takes less.
_LOCAL_WAIT = 1.0  # seconds
_MISC = 1  # tor-spec 6.3, the reason given to CLOSESTREAM
_FAILURES = frozenset({"DETACHED", "FAILED", "CLOSED"})


class Lane:
    """The streams of one circuit, as this side sees them."""

    def __init__(self, user: str, circuit_id: str) -> None:
        self.user = user
        self.circuit_id = circuit_id
        self.turn = asyncio.Lock()
        self.openings: set[_Opening] = set()
        self.unnamed: _Opening | None = None  # whose turn it is

    def fail(self, reason: TorError) -> None:
        """The circuit is gone, and with it what waits for an answer on it."""
        for opening in self.openings:
            opening.fail(reason)


class _Opening:
    """A stream between its SOCKS request and its first answer."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.id: asyncio.Future[str] = loop.create_future()
        self.failed: asyncio.Future[TorError] = loop.create_future()

    def fail(self, reason: TorError) -> None:
        if not self.failed.done():
            self.failed.set_result(reason)


class StreamAttacher:
    """Opens streams through `socks_proxy` and attaches them through `controller`."""

    def __init__(self, controller: Controller, socks_proxy: str) -> None:
        self._controller = controller
        self._socks_proxy = socks_proxy
        self._prefix = f"bento-{secrets.token_hex(16)}"
        self._lanes: dict[str, Lane] = {}  # by user name
        self._openings: dict[str, _Opening] = {}  # by stream id
        self._anywhere: Counter[str] = Counter()  # user names, and how many openers each has
        self._anywhere_tries: dict[str, int] = {}  # by stream id

    def add_lane(self, circuit_id: str) -> Lane:
        """Streams on this circuit, until `remove_lane`."""
        lane = Lane(f"{self._prefix}-{circuit_id}", circuit_id)
        self._lanes[lane.user] = lane
        return lane

    def remove_lane(self, lane: Lane, reason: TorError) -> None:
        """The circuit has ended: fail what waits for an answer on it."""
        self._lanes.pop(lane.user, None)
        lane.fail(reason)

    async def open(self, lane: Lane, host: str, port: int, early: bytes) -> Stream:
        """A stream on this lane's circuit. Raises TorError with the reason if it fails."""
        opening = _Opening()
        lane.openings.add(opening)
        request: asyncio.Task[Stream] | None = None
        try:
            async with lane.turn:
                request = asyncio.ensure_future(
                    open_socks_stream(
                        self._socks_proxy, host, port, username=lane.user, early=early
                    )
                )
                await self._turn(lane, opening, request)
            return await _first_answer(request, opening)
        except BaseException:
            if request is not None:
                await _abandon(request)
            raise
        finally:
            lane.openings.discard(opening)
            if opening.id.done():
                self._openings.pop(opening.id.result(), None)

    async def open_anywhere(self, host: str, port: int, early: bytes, isolation: str) -> Stream:
        """A stream on a circuit that tor chooses, shared only within `isolation`."""
        digest = hashlib.sha256(isolation.encode()).hexdigest()
        user = f"{self._prefix}-any-{digest}"
        self._anywhere[user] += 1
        try:
            return await open_socks_stream(
                self._socks_proxy, host, port, username=user, early=early
            )
        finally:
            self._anywhere[user] -= 1
            self._anywhere += Counter()  # drops the names without openers

    def hear(self, event: Event) -> None:
        """A STREAM event."""
        if len(event.positional) < 3:
            return
        stream_id, status = event.positional[:2]
        if status == "NEW":
            self._attach(stream_id, event.keywords.get("SOCKS_USERNAME", ""))
        elif stream_id in self._openings:
            self._hear_of_ours(stream_id, status, event)
        elif stream_id in self._anywhere_tries:
            self._hear_of_anywhere(stream_id, status)

    # -- inside ------------------------------------------------------------------------------

    async def _turn(self, lane: Lane, opening: _Opening, request: asyncio.Task[Stream]) -> None:
        """Until tor has named the stream, or there will be none."""
        lane.unnamed = opening
        try:
            await _first_of(opening.id, opening.failed, request)
        except asyncio.CancelledError:
            # The next opener must not be taken for this one.
            await asyncio.wait([opening.id], timeout=_LOCAL_WAIT)
            raise
        finally:
            lane.unnamed = None

    def _attach(self, stream_id: str, user: str) -> None:
        if lane := self._lanes.get(user):
            self._attach_to(lane, stream_id)
        elif self._anywhere[user]:
            self._anywhere_tries[stream_id] = 1
            self._controller.tell(f"ATTACHSTREAM {stream_id} {_ANY_CIRCUIT}")

    def _attach_to(self, lane: Lane, stream_id: str) -> None:
        opening = lane.unnamed
        if opening is None or opening.id.done():
            self._close_stream(stream_id)  # ours, and nobody waits for it any more
            return
        opening.id.set_result(stream_id)
        self._openings[stream_id] = opening
        answer = self._controller.send(f"ATTACHSTREAM {stream_id} {lane.circuit_id}")
        answer.add_done_callback(partial(self._attached, opening))

    def _attached(self, opening: _Opening, answer: asyncio.Future[Reply]) -> None:
        if answer.cancelled() or answer.exception() is not None or answer.result().is_ok:
            return
        self._close_stream(opening.id.result())
        opening.fail(stream_failure({"REASON": "CANT_ATTACH"}))

    def _hear_of_ours(self, stream_id: str, status: str, event: Event) -> None:
        if status == "SUCCEEDED":
            del self._openings[stream_id]
        elif status in _FAILURES:
            if status == "DETACHED":
                self._close_stream(stream_id)
            self._openings.pop(stream_id).fail(stream_failure(event.keywords))

    def _hear_of_anywhere(self, stream_id: str, status: str) -> None:
        tries = self._anywhere_tries[stream_id]
        if status == "DETACHED" and tries < _ANY_ATTEMPTS:
            self._anywhere_tries[stream_id] = tries + 1
            self._controller.tell(f"ATTACHSTREAM {stream_id} {_ANY_CIRCUIT}")
        elif status in _FAILURES or status == "SUCCEEDED":
            del self._anywhere_tries[stream_id]
            if status == "DETACHED":
                self._close_stream(stream_id)

    def _close_stream(self, stream_id: str) -> None:
        self._controller.tell(f"CLOSESTREAM {stream_id} {_MISC}")


async def _first_answer(request: asyncio.Task[Stream], opening: _Opening) -> Stream:
    """The stream, or what tor's events say against it, which is more than SOCKS can."""
    await _first_of(request, opening.failed)
    if not opening.failed.done():
        try:
            return request.result()
        except TorError as error:
            # The SOCKS answer may have overtaken the event.
            await asyncio.wait([opening.failed], timeout=_LOCAL_WAIT)
            if not opening.failed.done():
                raise error
    raise opening.failed.result()


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


async def _abandon(request: asyncio.Task[Stream]) -> None:
    """End a request, whichever way it is going, and keep nothing open."""
    request.cancel()
    await asyncio.wait([request])
    if not request.cancelled() and request.exception() is None:
        request.result()[1].transport.abort()
