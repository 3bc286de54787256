"""Replicas on other boxes, as a front starts them through `api.boxes`: its children, that end with it."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from bento.errors import BoxError
from bento.functions.balancer.inside import BlockingChannel
from bento.functions.balancer.replica import Channel
from bento.guest.api import Api

TRIES = 3
"""Boxes that are asked for one replica."""


class OtherBoxes:
    """Of `front.StartReplica`. The boxes take turns; one that is being asked, or did not answer when it was
    asked last, comes behind all others, and so do the `doubtful` (fingerprints) at first."""

    def __init__(self, api: Api, code: bytes, manifest: str, doubtful: Iterable[str] = ()) -> None:
        self._api = api
        self._code = code
        self._manifest = manifest
        self._threads = ThreadPoolExecutor(8)
        self._doubtful = set(doubtful)
        self._ends: set[str] = set()
        self.boxes: dict[int, str] = {}
        """The fingerprint of each replica's box."""
        self._turn = itertools.count(random.randrange(1 << 16))  # noqa: S311

    async def __call__(self, number: int) -> Channel:
        began = self._threads.submit(self._install)
        try:
            child, call = await asyncio.wrap_future(began)
            self.boxes[number] = child.box.fingerprint
        except asyncio.CancelledError:
            began.add_done_callback(self._unwanted)
            raise
        return BlockingChannel(call.recv, call.send, partial(self._end, child, call))

    @property
    def ends(self) -> tuple[str, ...]:
        """The shutdown tokens of those there are."""
        return tuple(sorted(self._ends.copy()))

    def _install(self) -> tuple[Any, Any]:
        failure: BoxError | None = None
        for place in self._places()[:TRIES]:
            self._doubtful.add(place.fingerprint)
            try:
                found = self._begun(
                    self._api.boxes.install(self._code, place, manifest=self._manifest)
                )
            except BoxError as error:
                failure = error
            else:
                self._doubtful.discard(place.fingerprint)
                return found
        raise failure or BoxError("this box knows no other boxes")

    def _places(self) -> list[Any]:
        known = sorted(self._api.boxes.list(), key=lambda place: str(place.fingerprint))
        good = [place for place in known if place.fingerprint not in self._doubtful]
        turn = next(self._turn) % max(1, len(good))
        doubtful = [place for place in known if place not in good]
        return good[turn:] + good[:turn] + doubtful

    def _begun(self, child: Any) -> tuple[Any, Any]:
        """Raises BoxError, and then leaves no child: one that nobody ends is renewed for ever, and keeps a
        place that the next replica needs."""
        try:
            call = child.invoke()
        except BaseException:
            child.__exit__()
            raise
        self._ends.add(child.shutdown_ticket)
        return child, call

    def _unwanted(self, began: Future[tuple[Any, Any]]) -> None:
        """It came up too late."""
        if not began.cancelled() and began.exception() is None:
            self._end(*began.result())

    def _end(self, child: Any, call: Any) -> None:
        call.close()
        child.__exit__()
        self._ends.discard(child.shutdown_ticket)
