"""Host side: the guest's modules as one blob of marshalled code for the sandbox's interpreter.

    boot, which the loader runs | one module after another, which boot reads when they are imported

One blob, so that nothing of this installation needs to be readable inside the sandbox, and compiled
code, so that a start compiles nothing. The interpreter that will run it must also make it: the format
belongs to its version. `from __future__` is obeyed here and left out: each start would read that
module from the disk.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bento.errors import HostError

INTERPRETER = "/usr/bin/python3"

_ROOM = Path(__file__).parent.parent
_MODULES = (
    "errors",
    "protocol.limits",
    "protocol.wire",
    "protocol.padding",
    "protocol.values",
    "protocol.streams",
    "protocol.session",
    "protocol.control",
    "protocol.caveats",
    "protocol.capability",
    "protocol.manifest",
    "protocol.ticket",
    "protocol.conclave",
    "protocol.policy",
    "protocol.puzzle",
    "protocol.door",
    "protocol.broker",
    "guest.sync",
    "guest.spools",
    "guest.session",
    "guest.api",
    "guest.aio",
    "guest.arguments",
    "guest.archive",
    "guest.network",
    "guest.names",
    "guest.dial",
    "guest.loops",
    "guest.onion",
    "guest.tor",
    "guest.way_out",
    "guest.knock",
    "guest.call",
    "guest.boxes",
    "guest.chromium",
    "guest.function",
    "guest.connection",
    "guest.runtime",
)
_CONCLAVE = (
    "guest.inner",
    "guest.enclosure",
)  # besides, in a conclave's guest

# Runs under INTERPRETER: {"modules": {name: source}, "boot": source, "inside": name} -> the blob.
_COMPILE = """
import __future__, ast, json, marshal, sys
given = json.load(sys.stdin)
flags = __future__.annotations.compiler_flag
def code(name, source):
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if getattr(node, "module", "") != "__future__"]
    path = name.replace(".", "/") + ".py"
    return marshal.dumps(compile(tree, path, "exec", flags, dont_inherit=True, optimize=0))
modules = {name: code(name, source) if source else b"" for name, source in given["modules"].items()}
left = sum(map(len, modules.values()))
table = {}
for name, compiled in modules.items():
    table[name] = left, len(compiled)
    left -= len(compiled)
boot = given["boot"].replace('INSIDE = ""', "INSIDE = " + repr(given["inside"]), 1)
boot = boot.replace("= {}", "= " + repr(table), 1)
sys.stdout.buffer.write(code("bento.guest.boot", boot) + b"".join(modules.values()))
"""


@dataclass(frozen=True)
class Conclave:
    """What makes a guest a conclave's: its own module, and the sources of everything that needs."""

    inside: str
    modules: tuple[tuple[str, bytes], ...]


def sources(conclave: bool = False) -> dict[str, bytes]:
    """The guest's own modules by name: what is measured of it."""
    parts = (*_MODULES, "guest.boot", *(_CONCLAVE if conclave else ()))
    return {
        f"bento.{part}": _ROOM.joinpath(*part.split(".")).with_suffix(".py").read_bytes()
        for part in parts
    }


@cache
def build(conclave: Conclave | None = None) -> bytes:
    """The blob, made once a process. Raises HostError without the interpreter."""
    found = sources(conclave is not None) | dict(conclave.modules if conclave else ())
    boot = found.pop("bento.guest.boot")
    packages = {name.rpartition(".")[0] for name in found} | {"bento"}
    modules = dict.fromkeys(packages, "") | {name: found[name].decode() for name in found}
    given = {
        "modules": modules,
        "boot": boot.decode(),
        "inside": conclave.inside if conclave else "",
    }
    try:
        done = subprocess.run(
            [INTERPRETER, "-I", "-S", "-c", _COMPILE],
            input=json.dumps(given).encode(),
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostError(
            f"the sandbox's interpreter {INTERPRETER} does not work",
            "install Debian's python3 package",
        ) from error
    return done.stdout
