"""What one run leaves for the next, and when it must be forgotten.

Keys and identities are kept for ever. Directory documents (consensus, descriptors) and guards
are kept only as long as the network has the same members at the same addresses: an authority
that remembers a relay which is no more would go on listing it. And a consensus is kept only if
it will do without a vote: relays that hold a live one look for its successor minutes later.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bento.testnet import consensus
from bento.testnet.layout import Layout

_FORMAT = 1
"""Raise it when a change of the configuration makes older directory documents wrong."""

_KEPT = frozenset({"keys", "fingerprint"})
"""What is not forgotten of a tor's data directory."""

_CONSENSUSES = ("cached-consensus", "cached-microdesc-consensus")


def last_net(data: Path) -> int | None:
    """The net number of the last run, the best one for the next."""
    net = _load(data).get("net")
    return net if isinstance(net, int) else None


def prepare(layout: Layout) -> None:
    """Forget what does not fit `layout`, or not any more."""
    now = {
        "format": _FORMAT,
        "net": layout.net,
        "relays": layout.size.relays,
        "boxes": layout.size.boxes,
    }
    data_directories = [*layout.data.glob("*/tor"), *layout.data.glob("*/functions")]
    if _load(layout.data) != now:
        for each in data_directories:
            _forget(each)
        _path(layout.data).write_text(json.dumps(now))
    elif not _will_do(layout):
        for each in data_directories:
            for name in _CONSENSUSES:
                (each / name).unlink(missing_ok=True)


def _will_do(layout: Layout) -> bool:
    """Whether the authority's saved consensus needs no successor at once."""
    try:
        text = (layout.authority.data / _CONSENSUSES[0]).read_text(errors="replace")
    except OSError:
        return False
    return consensus.suffices(text, [node.name for node in layout.servers])


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
