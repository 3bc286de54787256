"""What the operator ordered: functions that never run here, and whether new ones are taken at all.

The blocked ones are kept in the state folder, a SHA-256 a line, and are in force before the command
that blocks them returns. Draining lasts until it is lifted or bentod starts again.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from bento.errors import BoxError, HostError, PolicyError

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BLOCKED = 10_000


class Orders:
    """One box's. Raises HostError when the list of blocked functions cannot be read: a box that has
    forgotten whom it refuses must not open."""

    def __init__(self, state: Path) -> None:
        self.draining = False
        self._path = state / "blocked"
        self._blocked = _read(self._path)

    @property
    def blocked(self) -> tuple[bytes, ...]:
        """Hashes, in the order they were blocked."""
        return tuple(self._blocked)

    def block(self, function: bytes) -> None:
        """From now on no instance of the function with this SHA-256 is made. Idempotent."""
        if len(self._blocked) >= _MOST_BLOCKED:
            raise HostError(f"{_MOST_BLOCKED} functions are blocked already", "unblock some")
        self._blocked[function] = None
        self._write()

    def unblock(self, function: bytes) -> bool:
        """False if it was not blocked."""
        if function not in self._blocked:
            return False
        del self._blocked[function]
        self._write()
        return True

    def admit(self, function: bytes) -> None:
        """Raises PolicyError for a blocked function, BoxError while the box is drained."""
        if function in self._blocked:
            raise PolicyError(
                "this box's operator does not let this function run here", "choose another box"
            )
        if self.draining:
            raise BoxError("the box takes no new functions now", "try later, or another box")

    def _write(self) -> None:
        """Whole or not at all, and on the disk before it returns."""
        new = self._path.with_suffix(".new")
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.writelines(f"{function.hex()}\n" for function in self._blocked)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            self._blocked = _read(self._path)  # what is in force is what a restart would find
            raise HostError(f"cannot write {self._path}: {error.strerror}") from None


def read_hash(text: str) -> bytes:
    """The SHA-256 in 64 hex digits. Raises ValueError."""
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ValueError("a function's hash has 64 hex digits")
    return bytes.fromhex(text)


def _read(path: Path) -> dict[bytes, None]:
    try:
        return {read_hash(line): None for line in path.read_text().splitlines()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise HostError(
            f"the list of blocked functions in {path} cannot be read: {error}",
            "repair it: 64 hex digits a line",
        ) from None
