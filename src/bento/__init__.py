"""Bento: small Python functions on Tor relays, with an unmodified tor.

    import bento

    async with bento.connect() as box:                  # any box; or connect("box1")
        instance, session = await box.run(source, "https://example.com/")
        async for piece in session:
            ...
        await instance.shutdown()

`bento.run(source, …)` does all of that without `async`. Errors are `bento.BentoError` and its kinds.
"""

from __future__ import annotations

from bento.errors import (
    AttestationError,
    BentoError,
    BoxError,
    FunctionError,
    HostError,
    PolicyError,
    ProtocolError,
    TorError,
    UsageError,
)

__all__ = [
    "AttestationError",
    "BentoError",
    "BoxError",
    "FunctionError",
    "HostError",
    "PolicyError",
    "ProtocolError",
    "TorError",
    "UsageError",
    "connect",
    "network",
    "run",
    "trust",
]


def __getattr__(name: str) -> object:
    # Late, so that `bento --help` does not pay for asyncio and the Tor client.
    if name in ("connect", "network", "run", "trust"):
        from bento import face

        return getattr(face, name)
    raise AttributeError(f"module 'bento' has no attribute {name!r}")
