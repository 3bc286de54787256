"""What all tests share: a home that is not the user's, and one private network a run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento.testnet import Testnet


@pytest.fixture(scope="session", autouse=True)
def bento_home(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Commands and tests find the network of the tests, and nothing of the user's own.

    The folder survives the run, so that the next one starts from saved state.
    """
    home = Path(request.config.cache.mkdir("bento-home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTO_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def network(bento_home: Path) -> Iterator[Testnet]:
    """The private network with three boxes, started once and shared by all tests that ask for it.

    It runs in processes of its own, so it belongs to no event loop; it ends with the run, also
    when the run is killed. A test must leave it as it was.
    """
    running = Testnet(home=bento_home)
    asyncio.run(_fresh(running))
    yield running
    asyncio.run(running.down())


async def _fresh(running: Testnet) -> None:
    await running.down()  # what a killed run may have left
    await running.up(owner=os.getpid())
