"""One private network for all tests of this room that need real relays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.onion.network import PrivateNetwork, running


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateNetwork]:
    """$BENTO_ONION_NETWORK names the folder of a network that already runs, to save its start."""
    kept = os.environ.get("BENTO_ONION_NETWORK")
    if kept:
        yield PrivateNetwork(Path(kept))
    else:
        yield from running(tmp_path_factory.mktemp("network"))
