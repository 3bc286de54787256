"""Which services this user has running: their fronts' tickets, one small file (0600) each."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from bento.errors import UsageError
from bento.home import bento_home
from bento.protocol.ticket import ShutdownTicket, Ticket

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bento.client.instance import Instance


class Notes:
    """Of one service. Its file's name is a hash: a folder's listing names no address."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, address: str) -> Notes:
        name = hashlib.sha256(b"bento balance\0" + address.encode()).hexdigest()[:32]
        return cls(_folder() / name)

    @classmethod
    def find(cls, address: str | None) -> Notes:
        """The service of that address, or the only one. Raises UsageError."""
        if address is not None:
            notes = cls.of(address if address.endswith(".onion") else f"{address}.onion")
            if not notes.exist:
                raise UsageError("no service of this address runs from here")
            return notes
        there = sorted(path for path in _folder().iterdir() if not path.suffix)
        if len(there) != 1:
            raise UsageError(
                f"{len(there) or 'no'} services run from here", "name one: --address ADDRESS"
            )
        return cls(there[0])

    def write(self, address: str, fronts: Sequence[Instance]) -> None:
        """The one that serves first. Whole or not at all."""
        notes = {
            "address": address,
            "fronts": [[f.ticket.encode(), _end_of(f).encode()] for f in fronts],
        }
        new = self._path.with_suffix(".new")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(notes, file)
        new.replace(self._path)

    def read(self) -> tuple[str, list[tuple[Ticket, ShutdownTicket]]]:
        """Its address; of each front the ticket, and what ends it. Raises UsageError."""
        try:
            notes: dict[str, Any] = json.loads(self._path.read_text())
            fronts = [
                (Ticket.parse(one), ShutdownTicket.parse(end)) for one, end in notes["fronts"]
            ]
            return str(notes["address"]), fronts
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError("the notes on this service are damaged") from None

    @property
    def exist(self) -> bool:
        return self._path.exists()

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


def _end_of(front: Instance) -> ShutdownTicket:
    assert front.shutdown_ticket is not None  # it was installed here
    return front.shutdown_ticket


def _folder() -> Path:
    folder = bento_home() / "balance"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
