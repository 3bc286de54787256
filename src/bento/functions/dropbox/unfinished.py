"""What a put or get that was killed needs to go on: one small file each, under $BENTO_HOME.

They hold keys and tickets (0600), and go away when the transfer is done. Their names are hashes.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

from bento.home import bento_home

if TYPE_CHECKING:
    from pathlib import Path


class Unfinished:
    """The notes on one transfer: `kind` is put or get, `of` tells it from all others of its kind."""

    def __init__(self, kind: str, of: str) -> None:
        name = hashlib.sha256(f"bento {kind}\0{of}".encode()).hexdigest()[:32]
        self._path: Path = bento_home() / "unfinished" / f"{kind}-{name}"

    def read(self) -> dict[str, str]:
        """What was written; empty if nothing was, or if it was damaged."""
        try:
            notes = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        good = isinstance(notes, dict) and all(isinstance(note, str) for note in notes.values())
        return notes if good else {}

    def write(self, **notes: str) -> None:
        """Replaces the notes, whole or not at all."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        new = self._path.with_suffix(".new")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(notes, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)
