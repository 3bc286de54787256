"""The first code that runs inside the sandbox: makes the blob's modules importable, then starts.

`blob` puts `MODULES` (name -> (is package, marshalled code)) in place of the empty table below, and
the name of a conclave's own module, if there is one, in place of the empty name.
"""

import sys
from _frozen_importlib import ModuleSpec
from marshal import loads

MODULES: "dict[str, tuple[bool, bytes]]" = {}
INSIDE = ""


class Finder:
    """Imports the blob's modules, and nothing else."""

    @staticmethod
    def find_spec(name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name in MODULES:
            return ModuleSpec(name, Finder, origin="bento", is_package=MODULES[name][0])  # type: ignore[arg-type]
        return None

    @staticmethod
    def create_module(spec):  # type: ignore[no-untyped-def]
        return None

    @staticmethod
    def exec_module(module):  # type: ignore[no-untyped-def]
        exec(loads(MODULES[module.__name__][1]), module.__dict__)  # noqa: S102, S302


sys.meta_path.insert(0, Finder)

from bento.guest.runtime import main  # noqa: E402

main(INSIDE)
