"""What one run leaves for the next, and when it must be forgotten.

Keys and identities are kept for ever. Directory documents (consensus, descriptors) and guards
are kept only as long as the network has the same members at the same addresses: an authority
that remembers a relay which is no more would go on listing it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bento.testnet.layout import Layout

_FORMAT = 1
"""Raise it when a change of the configuration makes older directory documents wrong."""

_KEPT = frozenset({"keys", "fingerprint"})
"""What is not forgotten of a tor's data directory."""


def last_net(data: Path) -> int | None:
    """The net number of the last run, the best one for the next."""
    net = _load(data).get("net")
    return net if isinstance(net, int) else None


def prepare(layout: Layout) -> bool:
    """Forget what does not fit `layout`; returns whether the start is warm."""
    now = {
        "format": _FORMAT,
        "net": layout.net,
        "relays": layout.size.relays,
        "boxes": layout.size.boxes,
    }
    if _load(layout.data) == now:
        return True
    for node in layout.data.glob("*/tor"):
        _forget(node)
    for functions in layout.data.glob("*/functions"):
        _forget(functions)
    _path(layout.data).write_text(json.dumps(now))
    return False


def _forget(data_directory: Path) -> None:
    for entry in data_directory.iterdir():
        if entry.name in _KEPT:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _load(data: Path) -> dict[str, object]:
    try:
        content = json.loads(_path(data).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _path(data: Path) -> Path:
    return data / "layout.json"
