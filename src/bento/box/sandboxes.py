"""Ready sandboxes of every image this box offers, handed out under an instance's terms."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bento.box.checkup import require
from bento.box.parts import parts_of
from bento.errors import BoxError
from bento.guest import blob
from bento.protocol.conclave import is_conclave
from bento.sandbox import Limits, Pool, image_named, layers, runtime_named
from bento.sandbox.pool import discard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bento.box.config import Config
    from bento.box.terms import Terms
    from bento.sandbox import Sandbox


_WAITING = "python-conclave"  # the only conclaves that are started ahead of time


def _pool(name: str, config: Config) -> Pool:
    runtime = runtime_named(config.sandbox.runtime)
    if is_conclave(name):
        from bento.box import attester  # no start without conclaves waits for it

        image = attester.image(name, config)
        size = config.conclave.pool if name == _WAITING else 0
        return Pool(
            image,
            size,
            run_dir=config.run,
            guest_blob=blob.build(attester.guest()),
            runtime=runtime,
        )
    size = config.capacity.pool
    return Pool(
        image_named(name), size, run_dir=config.run, guest_blob=blob.build(), runtime=runtime
    )


class Turns:
    """So that no part of the box takes all ready sandboxes of an image: for each of the `parts` that has
    had none since all were ready, one is left (but never so many that nobody gets one)."""

    def __init__(self, parts: Iterable[str]) -> None:
        self._parts = frozenset(parts)
        self._had: set[str] = set()

    def leave(self, part: str, ready: int, size: int) -> int:
        """How many of `ready` ones, of `size` at most, are not for `part`, which takes one now."""
        if ready >= size:
            self._had.clear()
        self._had.add(part)
        return max(0, min(len(self._parts - self._had), size - 1))


class Sandboxes:
    """One pool an image."""

    def __init__(self, config: Config) -> None:
        self._pools = {name: _pool(name, config) for name in config.images}
        self._turns = {name: Turns(parts_of(config)) for name in config.images}
        self.enforcement = "rlimit"
        self._images = config.images
        self._without = config.without
        self._runtime = runtime_named(config.sandbox.runtime)

    async def start(self) -> None:
        """Proves that a sandbox of each image starts here with every layer, and learns how limits
        are kept.

        Raises HostError with the reason when one does not, or naming every layer that is missing."""
        first = await asyncio.gather(*(pool.take() for pool in self._pools.values()))
        if all(sandbox.level == "cgroup" for sandbox in first):
            self.enforcement = "cgroup"
        try:
            found = [layer for sandbox in first for layer in layers.seen_on(sandbox)]
            require([*layers.standing(self._runtime), *found], self._images, self._without)
        finally:
            await asyncio.gather(*map(discard, first))
        for pool in self._pools.values():
            pool.start()

    async def take(self, terms: Terms) -> Sandbox:
        """A sandbox under the manifest's limits: a waiting one, or a new one. Raises HostError."""
        manifest = terms.manifest
        pool = self._pools.get(manifest.image)
        if pool is None:
            raise BoxError("the box does not offer this image", "choose another box")
        image = image_named(manifest.image)
        usual = image.limits
        return await pool.take(
            Limits(
                memory=manifest.memory + image.overhead,
                pids=manifest.pids,
                cpu=manifest.cpu,
                disk=manifest.disk,
                inodes=usual.inodes,
                open_files=usual.open_files,
                weight=terms.weight,
            ),
            self._turns[manifest.image].leave(terms.holder, pool.ready, pool.size),
        )

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(self._pools)

    def ready(self, image: str) -> int:
        """How many sandboxes of `image` wait."""
        return self._pools[image].ready

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()
