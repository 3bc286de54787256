"""A hostile function: what it does, what must happen to it, and which layer must stop it."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from typing import Literal

Group = Literal["escape", "exhaustion", "snooping", "network"]

# What stands in place of an answer.
ENDED = "the instance was ended"
HELD = "it ran on, held by its limits, until its owner ended it"

# Every hostile function begins with these. `call` makes a system call by its number, without
# the C library; both tell the name of the error that stopped it.
PRELUDE = """
import errno, os, sys, time

def attempt(action, *arguments, **options):
    try:
        action(*arguments, **options)
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
    except (MemoryError, RuntimeError, ValueError) as error:
        return type(error).__name__
    return "DONE"

def call(number, *arguments):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    ctypes.set_errno(0)
    if libc.syscall(ctypes.c_long(number), *words) >= 0:
        return "DONE"
    return errno.errorcode[ctypes.get_errno()]

def calls(*several):
    return " ".join(sorted({call(*one) for one in several}))

def main(api, **facts):
    api.send(str(attack(api, facts)))
"""


@dataclass(frozen=True)
class Attack:
    """`expect` is what its answer must match, whole; or ENDED, or HELD.

    `code` defines `attack(api, facts)`; `facts` are what a hostile neighbour could know of the
    machine: see `Arena.facts`. `runtimes` holds other expectations where a runtime has them.
    """

    name: str
    layer: str
    expect: str
    code: str = field(repr=False)
    manifest: str = ""
    heavy: bool = False  # works the machine hard: others are measured meanwhile
    runtimes: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def source(self) -> bytes:
        head = [f"# {line}" for line in self.manifest.splitlines()]
        block = ["# /// bento", *head, "# ///"] if head else []
        return "\n".join([*block, PRELUDE, textwrap.dedent(self.code)]).encode()

    def expected(self, runtime: str) -> str:
        return self.runtimes.get(runtime, self.expect)

    def is_contained(self, outcome: str, runtime: str = "bubblewrap") -> bool:
        """Whether what happened is what must happen."""
        expected = self.expected(runtime)
        if expected in (ENDED, HELD):
            return outcome == expected
        return re.fullmatch(expected, outcome, re.DOTALL) is not None
