"""What an admitted function runs under: its manifest, made concrete for this box."""

from __future__ import annotations

from dataclasses import dataclass

from bento.egress.rules import EgressRules
from bento.protocol import control, limits
from bento.protocol.conclave import terms_hash
from bento.protocol.manifest import Manifest
from bento.protocol.wire import encode


@dataclass(frozen=True)
class Terms:
    """`text` is the manifest as it came, `function` the SHA-256 its code must have, `upload` the most
    bytes it may have; `bound` is what a conclave's evidence says of all this. `holder` is the part of
    the box it belongs to and `weight` its share there (see `turnstile`), `patience` the seconds its
    upload may take to begin."""

    text: str
    manifest: Manifest
    egress: EgressRules
    function: bytes
    upload: int
    bound: bytes
    holder: str = ""
    weight: float = 1.0
    patience: int = limits.UPLOAD_WAIT

    @classmethod
    def read(cls, text: str, function: bytes, upload: int, holder: str = "") -> Terms:
        """What `text` asks for, admitted or not. Raises UsageError when it is no manifest."""
        manifest = Manifest.parse(text)
        egress = EgressRules.parse(manifest.egress)
        return cls(text, manifest, egress, function, upload, terms_hash(text, function), holder)

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
                network=manifest.network,
                chromium=manifest.chromium,
            )
        )
