"""A service's key in a folder, as C-tor keeps it: a service that ran on one tor can move here and back."""

from __future__ import annotations

import os
from pathlib import Path

from bento.errors import HostError, UsageError
from bento.onion.blinding import OnionIdentity

SECRET, HOSTNAME, POINTS = "hs_ed25519_secret_key", "hostname", "bento_points"
FILE_BYTES = 96


def key_of(folder: Path | None) -> bytes:
    """The key file in `folder`, made if there is none; without a folder a key that nobody keeps.

    Raises UsageError for a file that is no key, HostError when it cannot be read or written."""
    if folder is None:
        return OnionIdentity.generate().to_c_tor_file()
    path = folder / SECRET
    try:
        if path.exists():
            return _checked(path.read_bytes(), path)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = OnionIdentity.generate()
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made.to_c_tor_file())
        (folder / HOSTNAME).write_text(f"{made.address}.onion\n")
        return made.to_c_tor_file()
    except OSError as error:
        raise HostError(f"the key in {folder} cannot be kept: {error.strerror}") from None


def _checked(data: bytes, path: Path) -> bytes:
    if len(data) != FILE_BYTES:
        raise UsageError(f"{path} is not an onion key file of tor")
    OnionIdentity.from_c_tor_file(data)
    return data


def points_of(folder: Path | None) -> bytes:
    """The introduction points that an earlier front of this key had; empty if none are known."""
    try:
        return b"" if folder is None else (folder / POINTS).read_bytes()
    except OSError:
        return b""


def keep_points(folder: Path, points: bytes) -> None:
    """For the next front: whole or not at all. Raises HostError."""
    new = folder / f"{POINTS}.new"
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(points)
        new.replace(folder / POINTS)
    except OSError as error:
        raise HostError(f"the points in {folder} cannot be kept: {error.strerror}") from None
