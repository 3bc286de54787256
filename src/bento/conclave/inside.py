"""What a guest is given to be a conclave: its key, the ends of its channels, its sealed folder.

The key is made when the guest starts, before any client is there, and never leaves. Runs in the guest.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bento.conclave.box_socket import BoxSocket
from bento.conclave.channel_guest import GuestChannel
from bento.conclave.guest_socket import GuestSocket
from bento.conclave.sealed_paths import Mount
from bento.conclave.storage import SealedFolder
from bento.conclave.tls import Credential

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Inside:
    """One conclave's own."""

    def __init__(self) -> None:
        self._credential = Credential()

    def socket(
        self, sock: Any, identity: bytes, terms: bytes, ask: Callable[[bytes], None]
    ) -> GuestSocket:
        """The end of a client's channel over `sock`; `ask` is told what to get evidence about."""
        return GuestSocket(sock, GuestChannel(self._credential, identity, terms), ask)

    def signed(self, key: bytes, proof: bytes, message: bytes) -> bool:
        """Whether `proof` is the Ed25519 signature of `message`."""
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(proof, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def to_box(self, sock: Any, key_hash: bytes, early: bytes) -> BoxSocket:
        """What is put over a connection to the box of that key, so that nobody between reads it."""
        return BoxSocket(sock, key_hash, early)

    def seal(self, below: str, shown: str) -> None:
        """From now on what this process writes below the path `shown` lies sealed in `below`."""
        os.mkdir(below, 0o700)  # noqa: PTH102 - the guest does not load pathlib
        Mount(SealedFolder(below), shown).install()
