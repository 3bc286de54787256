"""The merging front's part at home: gives it its key and the instances' addresses. What it says of itself,
and how it ends, is as with `home`'s front."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bento.client.owners import remember
from bento.errors import BentoError
from bento.functions.balancer import upload
from bento.functions.balancer.home import Service
from bento.onion.blinding import OnionIdentity
from bento.protocol.manifest import amended, manifest_text

if TYPE_CHECKING:
    from bento.client.box import Box


@dataclass(frozen=True)
class MergedPlan:
    """`key`: an `hs_ed25519_secret_key` file; `instances`: as `merging.addresses_of` gives them;
    `lifetime` in seconds; `every`: seconds between two looks at the instances."""

    key: bytes = field(repr=False)
    instances: tuple[str, ...]
    lifetime: int
    every: float

    @property
    def address(self) -> str:
        return f"{OnionIdentity.from_c_tor_file(self.key).address}.onion"


async def begin(box: Box, plan: MergedPlan) -> Service:
    """A merging front on this box. Raises PolicyError, BoxError."""
    code = upload.build(upload.MERGED, upload.MERGING)
    terms = amended(manifest_text(code), lifetime=plan.lifetime)
    front = await box.install(code, manifest=terms)
    remember(front)
    try:
        instances = " ".join(plan.instances)
        session = await front.invoke("serve", instances=instances, every=plan.every)
        await session.send(plan.key)
        await session.close_input()
    except BaseException:
        with contextlib.suppress(BentoError, OSError):
            await front.shutdown()
        raise
    return Service(plan.address, front, session)
