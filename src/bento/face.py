"""The public functions: `network`, `connect`, `trust`, and `run` for code without `async`.

They find the private test network by themselves while it is up; otherwise they start a tor of the
user's own. Where a route goes is said through `progress`.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bento.client.covered import CoveredNetwork
from bento.client.network import Network, TorEndpoints
from bento.client.patience import PATIENCE
from bento.client.wallet import Wallet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bento.client.box import Box
    from bento.client.conclave import Trust
    from bento.client.finder import Finder
    from bento.conclave.trust import Verdict


@contextlib.asynccontextmanager
async def network(*, progress: Callable[[str], None] | None = None) -> AsyncIterator[Finder]:
    """The user's way into the network: the Cover this runs under, if it does, and no other way then.

    Raises TorError when there is none."""
    from bento.testnet import find

    if (covered := CoveredNetwork.find()) is not None:
        yield covered
        return
    testnet = find()
    endpoints = TorEndpoints(*testnet.user_tor()) if testnet is not None else None
    cache = testnet.run / "boxes.json" if testnet is not None else None
    async with await Network.open(endpoints, cache=cache, progress=progress) as opened:
        yield opened


def trust(
    policy: Path | None = None,
    *,
    allow_emulated: bool = False,
    tell: Callable[[Verdict], None] = lambda verdict: None,
) -> Trust:
    """What is accepted as a conclave: the trust policy in the file `policy`, or the default one.

    `allow_emulated` accepts emulated conclaves too, which protect nothing: those under the root that
    the policy names, or else under the private network's while it is up. `tell` is called with each
    accepting verdict before anything is uploaded. Raises HostError, UsageError."""
    from bento.client.conclave import Trust
    from bento.conclave.trust import TrustPolicy, load_policy
    from bento.testnet import find

    chosen = load_policy(policy) if policy else TrustPolicy()
    if allow_emulated:
        chosen = chosen.allowing_emulated()
        testnet = None if chosen.emulated_root else find()
        if testnet is not None:
            chosen = chosen.override(emulated_root=str(testnet.emulated_root))
    return Trust(chosen, chosen.roots(policy.parent if policy else Path()), tell)


@contextlib.asynccontextmanager
async def connect(
    name: str | None = None,
    *,
    entrance: str | None = None,
    patience: float = PATIENCE,
    lifetime: int | None = None,
    brief: bool = False,
    progress: Callable[[str], None] | None = None,
    within: Finder | None = None,
) -> AsyncIterator[Box]:
    """A box over a fresh circuit: by nickname, fingerprint or onion address, or any at random; of the
    network `within` if that is open already.

    `patience`: seconds of work and waiting that a place on a loaded box may cost; `lifetime`: seconds
    to ask for in place of the manifests' own; `brief`: see client.brief."""
    opened = contextlib.nullcontext(within) if within else network(progress=progress)
    async with opened as found, await found.box(name, entrance=entrance) as box:
        box.patience, box.lifetime, box.brief = patience, lifetime, brief
        box.on_wait = progress
        box.wallet = Wallet.existing()
        try:
            yield box
        finally:
            if box.wallet is not None:
                box.wallet.close()


def run(
    upload: bytes,
    *args: Any,
    box: str | None = None,
    on_log: Callable[[str], None] | None = None,
    trust: Trust | None = None,
    **kwargs: Any,
) -> bytes:
    """Without `async`: installs `upload`, calls its main, returns the whole answer, shuts it down.

    With `trust`, in a conclave."""

    async def once() -> bytes:
        async with connect(box, brief=True) as found:
            instance, session = await found.run(upload, *args, on_log=on_log, trust=trust, **kwargs)
            try:
                await session.close_input()
                return await session.read()
            finally:
                await instance.shutdown()

    return asyncio.run(once())
