"""Sandboxes for the tests: real ones, ended after each test."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.sandbox.inside import blob

from bento.sandbox import IMAGES, Limits, Sandbox, spawn

Spawner = Callable[..., Awaitable[Sandbox]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A box's run folder; its name leaves room for a socket's."""
    path = Path(tempfile.mkdtemp(prefix="sandbox-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def spawner(folder: Path) -> AsyncIterator[Spawner]:
    """`await spawner(image="python", limits=None, guest=...)`: a sandbox that ends with the test."""
    made: list[Sandbox] = []
    names = (f"test{folder.name[-8:]}{number}" for number in itertools.count())

    async def make(
        image: str = "python", limits: Limits | None = None, guest: bytes = b""
    ) -> Sandbox:
        row = IMAGES[image]
        sandbox = await spawn(row, limits or row.limits, folder, next(names), guest or blob())
        made.append(sandbox)
        return sandbox

    yield make
    for sandbox in made:
        await sandbox.kill()
        sandbox.close()


@pytest.fixture
async def sandbox(spawner: Spawner) -> Sandbox:
    """One of image python."""
    return await spawner()
