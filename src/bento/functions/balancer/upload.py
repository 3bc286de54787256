"""The two functions as they travel: a zip each, with the cell library and the modules of the balancer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources

from bento.functions import cells
from bento.functions.balancer.site import ORIGIN
from bento.functions.uploads import archived
from bento.protocol.manifest import amended, manifest_text

MIB = 1 << 20
FRONT, REPLICA = "front_main", "replica_main"
SHARED = (
    "__init__", "choice", "countries", "elsewhere", "fleet", "front", "http", "inside", "links", "messages",
    "order", "places", "replica", "serving", "site", "standby", "trend",
)  # fmt: skip

MERGED = "merged_main"
MERGING = ("__init__", "inside", "merged", "merging")

_BARE = 96 * MIB
"""What either half needs beside content: the interpreter, the cell library, a directory of relays."""


def build(main: str, shared: Sequence[str] = SHARED) -> bytes:
    """The upload of `FRONT` or `REPLICA`, or of `MERGED` with `MERGING`: the same bytes on every machine, as
    its hash is its name."""
    own = resources.files(__package__)
    texts = {
        f"bento/functions/balancer/{name}.py": (own / f"{name}.py").read_text("utf-8")
        for name in (*shared, main)
    }
    source = texts[f"bento/functions/balancer/{main}.py"]
    manifest = source[: source.index("# ///\n") + len("# ///\n")]
    texts["__main__.py"] = f"{manifest}from bento.functions.balancer.{main} import main\n"
    texts["bento/functions/__init__.py"] = ""
    return archived(texts | cells.library())


def front_terms(front: bytes, content: bytes, replicas: int, lifetime: int) -> str:
    """The manifest of a front with so many replicas."""
    text = manifest_text(front)
    return amended(text, memory=_memory(content), boxes=replicas, lifetime=lifetime)


def replica_terms(replica: bytes, kind: int, content: bytes, lifetime: int) -> str:
    """The manifest of a replica: it may reach the origin, if there is one."""
    asked = amended(manifest_text(replica), memory=_memory(content), lifetime=lifetime)
    return asked + (f"\negress = {json.dumps([content.decode()])}" if kind == ORIGIN else "")


def _memory(content: bytes) -> int:
    """It is held as it came and as it is shown."""
    return -(-3 * len(content) // MIB) * MIB + _BARE
