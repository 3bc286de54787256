"""Makes plain Python file code use sealed storage: paths below a prefix lead into a SealedFolder.

`open`, `pathlib`, `os`, `shutil`, `zipfile`, `sqlite3.connect` and whatever else goes through them
work unchanged. It is a convenience inside the guest, not a wall: the prefix must not exist as a
real path, so that code which goes around (a C library, `os.open`) finds nothing there and fails,
instead of writing in the clear. Runs in the guest.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import stat

from bento.conclave.storage import SealedFolder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Self


class Mount:
    """A SealedFolder shown at a path of this process. One at a time."""

    def __init__(self, folder: SealedFolder, prefix: str = "/data") -> None:
        if os.path.lexists(prefix):
            raise ValueError(f"{prefix} exists: files could be written there in the clear")
        self._folder = folder
        self._prefix = os.path.normpath(prefix)
        self._originals: list[tuple[Any, str, Any]] = []

    def install(self) -> None:
        """Route the functions of `builtins`, `io` and `os`, and `sqlite3.connect` once imported."""
        opened = self._routed(builtins.open, self._folder.open)
        self._patch(builtins, "open", opened)
        self._patch(io, "open", opened)
        for name, sealed in self._os_functions().items():
            self._patch(os, name, self._routed(getattr(os, name), sealed))
        for name in ("rename", "replace"):
            self._patch(os, name, self._two_paths(getattr(os, name)))
        self._patch_sqlite()

    def uninstall(self) -> None:
        while self._originals:
            module, name, original = self._originals.pop()
            setattr(module, name, original)

    def _os_functions(self) -> dict[str, Callable[..., Any]]:
        folder = self._folder
        return {
            "stat": lambda path, **_: folder.stat(path),
            "lstat": lambda path, **_: folder.stat(path),
            "listdir": lambda path=".": folder.listdir(path),
            "scandir": lambda path=".": _Scan(folder, path, self._prefix),
            "unlink": lambda path, **_: folder.unlink(path),
            "remove": lambda path, **_: folder.unlink(path),
            "mkdir": lambda path, mode=0o777, **_: folder.mkdir(path),
            "rmdir": lambda path, **_: folder.rmdir(path),
            "truncate": folder.truncate,
            "access": lambda path, mode, **_: folder.exists(path),
            "chmod": lambda path, mode, **_: folder.stat(path) and None,
            "listxattr": lambda path, **_: folder.stat(path) and [],
            "utime": lambda path, *_, **__: folder.stat(path) and None,
        }

    def _patch(self, module: Any, name: str, value: Any) -> None:
        self._originals.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    def _patch_sqlite(self) -> None:
        """`sqlite3` is slow to import; without it, nobody can have a database open."""
        try:
            import sqlite3

            from bento.conclave import sealed_sqlite
        except ImportError:
            return

        def connect(path: str, *arguments: Any, **options: Any) -> Any:
            return sealed_sqlite.connect(self._folder, path, *arguments, **options)

        self._patch(sqlite3, "connect", self._routed(sqlite3.connect, connect))

    def _routed(
        self, original: Callable[..., Any], sealed: Callable[..., Any]
    ) -> Callable[..., Any]:
        def routed(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            inside = self._inside(path)
            if inside is None:
                return original(path, *arguments, **options)
            return sealed(inside, *arguments, **options)

        return routed

    def _two_paths(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def routed(source: Any, target: Any, **options: Any) -> None:
            old, new = self._inside(source), self._inside(target)
            if old is None and new is None:
                original(source, target, **options)
            elif old is None or new is None:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source, None, target)
            else:
                self._folder.rename(old, new)

        return routed

    def _inside(self, path: Any) -> str | None:
        """The path within the folder, or None for one outside it."""
        if isinstance(path, int):
            return None
        text = os.fsdecode(path)
        if not text.startswith("/"):
            return None  # the working folder is never inside: the prefix is no real path
        if "/." in text or "//" in text:  # asked first, as every path of the process is
            text = os.path.normpath(text)
        if text == self._prefix:
            return ""
        return text[len(self._prefix) + 1 :] if text.startswith(f"{self._prefix}/") else None


class _Scan:
    """What `os.scandir` returns: an iterator that is also a context manager."""

    def __init__(self, folder: SealedFolder, path: str, prefix: str) -> None:
        self._entries: Iterator[_Entry] = iter(
            [_Entry(folder, path, name, prefix) for name in folder.listdir(path)]
        )

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _Entry:
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


class _Entry:
    """What `os.scandir` gives for each name."""

    def __init__(self, folder: SealedFolder, parent: str, name: str, prefix: str) -> None:
        inside = f"{parent}/{name}" if parent else name
        self.name, self.path = name, f"{prefix}/{inside}"
        self._status = folder.stat(inside)

    def __fspath__(self) -> str:
        return self.path

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return self._status

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return stat.S_ISDIR(self._status.st_mode)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return stat.S_ISREG(self._status.st_mode)

    def is_symlink(self) -> bool:
        return False
