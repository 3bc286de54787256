"""`python -m bento.functions.cells FILE > ZIP`: a function together with the cell library, to be uploaded.

The library travels in the upload and is no part of the boxes' image: so the function's hash speaks for it
too, a conclave attests it, a function has the version it was tried with, and no other sandbox carries its
weight. What it needs besides (Debian's python3-cryptography and python3-nacl) every box has under /usr.
"""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

from bento.errors import UsageError
from bento.functions.uploads import archived
from bento.protocol.manifest import manifest_text

_CONTROL = ("__init__.py", "addresses.py", "control_codec.py", "controller.py")


def library() -> dict[str, str]:
    """`bento.onion` and the control-port client, as files of a zip."""
    onion, tor = resources.files("bento.onion"), resources.files("bento.tor")
    names = sorted(file.name for file in onion.iterdir() if file.name.endswith(".py"))
    files = {f"bento/onion/{name}": (onion / name).read_text("utf-8") for name in names}
    return files | {f"bento/tor/{name}": (tor / name).read_text("utf-8") for name in _CONTROL}


def carrying(source: str) -> bytes:
    """The upload of a function of one file that imports the library: the same bytes on every machine,
    as their SHA-256 is the function's hash. Raises UsageError if its manifest is not closed."""
    manifest_text(source.encode())
    return archived({"__main__.py": source, **library()})


def main(words: list[str]) -> int:
    try:
        (path,) = words
        upload = carrying(Path(path).read_text("utf-8"))
    except (ValueError, OSError, UsageError) as error:
        print(f"usage: python -m bento.functions.cells FILE > ZIP ({error})", file=sys.stderr)
        return 2
    sys.stdout.buffer.write(upload)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
