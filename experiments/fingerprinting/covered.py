"""A bento command over a tor that is named: `python -m experiments.fingerprinting.covered CONTROL SOCKS CACHE
cover --rate R -- bento browse URL`. It is the command itself; only the tor is not looked for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from bento import face
from bento.cli.main import main
from bento.client.finder import Finder
from bento.client.network import Network, TorEndpoints


def over(endpoints: TorEndpoints, cache: Path) -> None:
    """From now on that is this process's way into the network."""

    @contextlib.asynccontextmanager
    async def network(*, progress: Callable[[str], None] | None = None) -> AsyncIterator[Finder]:
        async with await Network.open(endpoints, cache=cache, progress=progress) as opened:
            yield opened

    face.network = network


if __name__ == "__main__":
    control, socks, cache, *words = sys.argv[1:]
    over(TorEndpoints(control, socks), Path(cache))
    sys.exit(main(words))
