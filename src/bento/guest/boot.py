"""The first code that runs inside the sandbox: makes the blob's modules importable, then starts.

A module is read from the blob when it is first imported, so that a start pays for what it uses and
no more. `blob` puts `MODULES` in place of the empty table below: name -> where its marshalled code
begins, in bytes before the blob's end, and its length, which is nothing for a package; and the name of
a conclave's own module, if there is one, in place of the empty name.
"""

import gc
import sys
from _frozen_importlib import ModuleSpec
from marshal import loads
from posix import lseek, pread

BLOB = 4  # the descriptor that the sandbox's loader leaves it at
MODULES: "dict[str, tuple[int, int]]" = {}
INSIDE = ""

END = lseek(BLOB, 0, 2)


class Finder:
    """Imports the blob's modules, and nothing else."""

    @staticmethod
    def find_spec(name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name in MODULES:
            return ModuleSpec(name, Finder, origin="bento", is_package=not MODULES[name][1])  # type: ignore[arg-type]
        return None

    @staticmethod
    def create_module(spec):  # type: ignore[no-untyped-def]
        return None

    @staticmethod
    def exec_module(module):  # type: ignore[no-untyped-def]
        start, length = MODULES[module.__name__]
        if length:
            exec(loads(pread(BLOB, length, END - start)), module.__dict__)  # noqa: S102, S302


sys.meta_path.insert(0, Finder)
gc.disable()  # a start makes no garbage

from bento.guest.runtime import main  # noqa: E402

gc.enable()
main(INSIDE)
