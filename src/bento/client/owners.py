"""The proofs of ownership of installed functions, kept so that their tracebacks come to their owner.

One file an instance under $BENTO_HOME/instances, named by a hash of what its tokens have in common:
a narrowed ticket is its owner's as well, and the name tells nothing.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from bento.home import bento_home
from bento.protocol import limits

if TYPE_CHECKING:
    from pathlib import Path

    from bento.client.instance import Instance
    from bento.protocol.ticket import Ticket


def remember(instance: Instance) -> None:
    """Keeps the owner's secret of an instance this client installed."""
    path = _path(instance.ticket)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(instance.owner)


def recall(ticket: Ticket) -> bytes:
    """The owner's secret for `ticket`; all zero for an instance of somebody else's."""
    try:
        secret = _path(ticket).read_bytes()
    except OSError:
        secret = b""
    return secret if len(secret) == limits.OWNER else bytes(limits.OWNER)


def _path(ticket: Ticket) -> Path:
    name = hashlib.sha256(b"bento owner\0" + ticket.token.name).hexdigest()[:32]
    return bento_home() / "instances" / name
