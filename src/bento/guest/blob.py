"""Host side: the guest's modules as one marshalled code object for the sandbox's interpreter.

One blob, so that nothing of this installation needs to be readable inside the sandbox, and compiled
code, so that a start compiles nothing. The interpreter that will run it must also make it: the format
belongs to its version.
"""

from __future__ import annotations

import json
import subprocess
from functools import lru_cache
from pathlib import Path

from bento.errors import HostError

INTERPRETER = "/usr/bin/python3"

_ROOM = Path(__file__).parent.parent
_MODULES = (
    "errors",
    "protocol.limits",
    "protocol.wire",
    "protocol.values",
    "protocol.streams",
    "protocol.session",
    "protocol.control",
    "guest.sync",
    "guest.session",
    "guest.api",
    "guest.aio",
    "guest.arguments",
    "guest.network",
    "guest.function",
    "guest.connection",
    "guest.runtime",
)
_PACKAGES = ("", "protocol", "guest")

# Runs under INTERPRETER: {"modules": {name: [is_package, source]}, "boot": source} -> the blob.
_COMPILE = """
import sys, json, marshal
given = json.load(sys.stdin)
def code(name, source):
    return compile(source, name.replace(".", "/") + ".py", "exec", dont_inherit=True, optimize=0)
modules = {n: (p, marshal.dumps(code(n, s))) for n, (p, s) in given["modules"].items()}
boot = given["boot"].replace("= {}", "= " + repr(modules), 1)
sys.stdout.buffer.write(marshal.dumps(code("bento.guest.boot", boot)))
"""


def _name(part: str) -> str:
    return f"bento.{part}" if part else "bento"


@lru_cache(maxsize=1)
def build() -> bytes:
    """The blob, made once a process. Raises HostError without the interpreter."""
    modules: dict[str, tuple[bool, str]] = {_name(part): (True, "") for part in _PACKAGES}
    for part in _MODULES:
        path = _ROOM.joinpath(*part.split(".")).with_suffix(".py")
        modules[_name(part)] = (False, path.read_text())
    given = {"modules": modules, "boot": (_ROOM / "guest" / "boot.py").read_text()}
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
