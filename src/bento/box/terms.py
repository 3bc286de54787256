"""What an admitted function runs under: its manifest, made concrete for this box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bento.protocol import control, limits
from bento.protocol.wire import encode

if TYPE_CHECKING:
    from bento.egress.rules import EgressRules
    from bento.protocol.manifest import Manifest


@dataclass(frozen=True)
class Terms:
    """`function` is the SHA-256 its code must have, `upload` the most bytes it may have; `bound` is
    what a conclave's evidence says of all this (protocol.conclave.terms_hash). `holder` is the part of
    the box it belongs to (see `turnstile`), `patience` the seconds its upload may take to begin."""

    manifest: Manifest
    egress: EgressRules
    function: bytes
    upload: int
    bound: bytes = b""
    holder: str = ""
    patience: int = limits.UPLOAD_WAIT

    def start(self, expires: int) -> bytes:
        """The frame that starts a guest under these terms."""
        manifest = self.manifest
        return encode(
            control.Start(
                function=self.function,
                expires=expires,
                memory=manifest.memory,
                disk=manifest.disk,
                upload=self.upload,
                spool=manifest.spool,
                patience=self.patience,
                network=bool(manifest.egress),
            )
        )
