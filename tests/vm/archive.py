"""An initial RAM disk for Linux: a cpio archive in the format "newc", and what a program needs in it.

Source: the kernel's driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_FIELDS = 13  # of eight hexadecimal digits each, after the magic number
_LIBRARY = re.compile(r"(/\S+) \(0x")  # a line of ldd(1)


class Archive:
    """Adds the machine's own files under their own names, each once, with the folders above them."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._names: set[str] = set()

    def add(self, path: Path, name: Path | None = None) -> None:
        """The file, link or folder `path`, and all below it, as `name`."""
        name = name or path
        if path.is_symlink():
            self._entry(name, stat.S_IFLNK | 0o777, os.fsencode(path.readlink()))
        elif path.is_dir():
            self._entry(name, stat.S_IFDIR | 0o755)
            for child in sorted(path.iterdir()):
                if child.name not in ("__pycache__", "test", ".git"):
                    self.add(child, name / child.name)
        else:
            self._entry(name, stat.S_IFREG | path.stat().st_mode & 0o755, path.read_bytes())

    def add_program(self, path: Path) -> None:
        """A program or library, and the libraries it is linked with."""
        self.add_followed(path)
        for library in libraries(path):
            self.add_followed(library)

    def add_followed(self, path: Path) -> None:
        """The file that `path` leads to, under its own name, in a folder that is no link."""
        content = path.resolve().read_bytes()
        self._entry(
            path.parent.resolve() / path.name, stat.S_IFREG | path.stat().st_mode & 0o755, content
        )

    def link(self, name: str, to: str) -> None:
        self._entry(Path(name), stat.S_IFLNK | 0o777, to.encode())

    def folder(self, name: str) -> None:
        self._entry(Path(name), stat.S_IFDIR | 0o755)

    def close(self) -> None:
        self._write("TRAILER!!!", 0, b"")

    def _entry(self, name: Path, mode: int, content: bytes = b"") -> None:
        if str(name) in self._names or name == Path("/"):
            return
        self._entry(name.parent, stat.S_IFDIR | 0o755)
        self._names.add(str(name))
        self._write(str(name).lstrip("/"), mode, content)

    def _write(self, name: str, mode: int, content: bytes) -> None:
        fields = [0] * _FIELDS
        fields[0], fields[1], fields[4], fields[6] = len(self._names), mode, 1, len(content)
        fields[11] = len(name) + 1
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        for part in (head, content):
            self._target.write(part + bytes(-len(part) % 4))


def libraries(program: Path) -> Iterator[Path]:
    """What the dynamic linker loads for `program`; nothing for a static one."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True)
    return map(Path, _LIBRARY.findall(done.stdout))
