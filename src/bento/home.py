"""Where Bento keeps what belongs to one user of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from bento.errors import HostError


def bento_home() -> Path:
    """The folder for everything that Bento keeps, made if need be (0700).

    `$BENTO_HOME`, else `bento` in the user's data folder (XDG Base Directory Specification 0.8).
    Raises HostError if it cannot be made.
    """
    home = Path(os.environ.get("BENTO_HOME") or _data_folder() / "bento").absolute()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(
            f"cannot use {home}: {error.strerror}", "set BENTO_HOME to a folder of your own"
        ) from None
    return home


def _data_folder() -> Path:
    # The specification: a relative path in the variable is invalid and to be ignored.
    named = Path(os.environ.get("XDG_DATA_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".local/share"
