"""FS Protect: a folder of sealed files. Runs in the guest.

What fits lies in the conclave's memory (`sealed_room`); what does not, on disk, as ciphertext under a
key that was made here and is never written anywhere: names are random, folders do not exist below,
sizes show to 4 KiB. The tree of names, sizes and nonces lives in the conclave's memory, so nothing
put back, swapped or cut by the operator is believed. When the conclave ends, even by a kill, the key
is gone and the files are noise.

Paths are relative to this folder, POSIX style; what they mean below is nobody's business.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from functools import lru_cache
from weakref import WeakSet

from bento.conclave.sealed_block import BLOCK, IntegrityError
from bento.conclave.sealed_file import SealedNode, SealedRaw
from bento.conclave.sealed_room import ROOM, Room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

__all__ = ["IntegrityError", "SealedFolder"]

# mode letter -> (must exist, must not exist, empties, appends)
_MODES = {
    "r": (True, False, False, False),
    "w": (False, False, True, False),
    "x": (False, True, False, False),
    "a": (False, False, False, True),
}


class SealedFolder:
    """A tree of sealed files kept in `root`, a real folder only this conclave writes to, as soon as they
    have more than `room` bytes."""

    def __init__(self, root: str, room: int = ROOM) -> None:
        self._room = Room(root, room)
        self._files: dict[str, SealedNode] = {}
        self._nodes: WeakSet[SealedNode] = WeakSet()  # those too that are open and have no name
        self._folders: set[str] = {""}

    def __repr__(self) -> str:
        return f"<SealedFolder of {len(self._files)} files>"

    # --- files

    def open(
        self,
        path: str,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Like the built-in `open`, for a path in this folder."""
        letter, updates, text = _parse_mode(mode)
        if text and buffering == 0:
            raise ValueError("can't have unbuffered text I/O")
        name = _clean(path)
        node = self._node(name, *_MODES[letter])
        size = _buffer_size(letter, updates, buffering)
        raw = SealedRaw(
            node,
            path,
            reads=letter == "r" or updates,
            writes=letter != "r" or updates,
            appends=letter == "a",
            buffer=size,
            clock=time.time,
        )
        if not size:
            return raw  # type: ignore[return-value]
        buffered = _buffered(raw, letter, updates, size)
        if not text:
            return buffered  # type: ignore[no-any-return]
        wrapped = io.TextIOWrapper(buffered, encoding, errors, newline, buffering == 1)
        wrapped.mode = mode  # type: ignore[misc]
        # Text passes the buffer by in pieces of this size; the usual 8 KiB are a quarter of a block.
        wrapped._CHUNK_SIZE = 2 * BLOCK  # type: ignore[attr-defined]
        return wrapped

    def _node(
        self, name: str, needed: bool, fresh: bool, empties: bool, _appends: bool
    ) -> SealedNode:
        if name in self._folders:
            raise _error(errno.EISDIR, name)
        node = self._files.get(name)
        if node is None:
            if needed:
                raise _error(errno.ENOENT, name)
            return self._create(name)
        if fresh:
            raise _error(errno.EEXIST, name)
        node.look()
        if empties:
            node.resize(0, time.time())
        return node

    def _create(self, name: str) -> SealedNode:
        self._need_parent(name)
        self._room.master  # noqa: B018 - or it is gone
        node = self._files[name] = SealedNode(self._room, time.time())
        self._nodes.add(node)
        return node

    def node(self, path: str) -> SealedNode:
        """The file itself, whatever it is called later."""
        return self._existing_file(_clean(path))

    def unlink(self, path: str) -> None:
        name = _clean(path)
        self._existing_file(name).unlink()
        del self._files[name]

    def truncate(self, path: str, size: int) -> None:
        self._existing_file(_clean(path)).resize(size, time.time())

    def rename(self, source: str, target: str) -> None:
        """Move a file or a folder; an existing file at `target` is replaced, as by POSIX."""
        old, new = _clean(source), _clean(target)
        if old == new and self.exists(old):
            return
        self._need_parent(new)
        if old in self._folders and old:
            self._rename_folder(old, new)
            return
        node = self._existing_file(old)
        if new in self._folders:
            raise _error(errno.EISDIR, new)
        if new in self._files:
            self._files[new].unlink()
        self._files[new] = node
        del self._files[old]

    def _rename_folder(self, old: str, new: str) -> None:
        if new.startswith(f"{old}/"):
            raise _error(errno.EINVAL, new)
        if new in self._files:
            raise _error(errno.ENOTDIR, new)
        if new in self._folders and self.listdir(new):
            raise _error(errno.ENOTEMPTY, new)

        def moved(name: str) -> str:
            inside = name == old or name.startswith(f"{old}/")
            return new + name[len(old) :] if inside else name

        self._folders = {moved(name) for name in self._folders}
        self._files = {moved(name): node for name, node in self._files.items()}

    # --- folders

    def mkdir(self, path: str) -> None:
        name = _clean(path)
        if self.exists(name):
            raise _error(errno.EEXIST, name)
        self._need_parent(name)
        self._folders.add(name)

    def rmdir(self, path: str) -> None:
        name = _clean(path)
        if name in self._files:
            raise _error(errno.ENOTDIR, name)
        if not name or self.listdir(name):
            raise _error(errno.ENOTEMPTY, name)
        self._folders.remove(name)

    def listdir(self, path: str = "") -> list[str]:
        """The names in a folder, without order."""
        name = _clean(path)
        if name in self._files:
            raise _error(errno.ENOTDIR, name)
        if name not in self._folders:
            raise _error(errno.ENOENT, name)
        prefix = f"{name}/" if name else ""
        found = (n[len(prefix) :] for n in (*self._files, *self._folders) if n.startswith(prefix))
        return [n for n in found if n and "/" not in n]

    def exists(self, path: str) -> bool:
        name = _clean(path)
        return name in self._files or name in self._folders

    def stat(self, path: str) -> os.stat_result:
        """Type, size and time of change; owner and permissions are the same for all."""
        name = _clean(path)
        if name in self._folders:
            return _stat(stat.S_IFDIR | 0o700, hash(name), 0, 0.0)
        node = self._existing_file(name)
        return _stat(stat.S_IFREG | 0o600, id(node), node.size, node.modified)

    # --- the end

    def wipe(self) -> None:
        """Forget every key and remove the files. Open handles become useless. Idempotent."""
        self._room.wipe()
        for node in tuple(self._nodes):
            node.wipe()
        self._files.clear()
        self._folders = {""}

    # --- inside

    def _existing_file(self, name: str) -> SealedNode:
        if name in self._folders:
            raise _error(errno.EISDIR, name)
        node = self._files.get(name)
        if node is None:
            raise _error(errno.ENOENT, name)
        node.look()
        return node

    def _need_parent(self, name: str) -> None:
        parent = name.rpartition("/")[0]
        if parent in self._files:
            raise _error(errno.ENOTDIR, name)
        if parent not in self._folders:
            raise _error(errno.ENOENT, name)


@lru_cache(64)
def _parse_mode(mode: str) -> tuple[str, bool, bool]:
    """The mode's letter, whether it updates ("+"), whether it is text."""
    letters = set(mode)
    kinds = letters & set(_MODES)
    if (
        len(letters) != len(mode)
        or len(kinds) != 1
        or letters - set("rwxabt+")
        or {"b", "t"} <= letters
    ):
        raise ValueError(f"invalid mode: {mode!r}")
    return kinds.pop(), "+" in letters, "b" not in letters


def _buffer_size(letter: str, updates: bool, buffering: int) -> int:
    """Bytes; 0 for none. Not more than people move at once: what is longer passes a buffer by, uncopied.
    Reads and writes that alternate empty it each time."""
    if buffering > 1 or buffering == 0:
        return buffering
    return BLOCK * 2 if letter == "r" and not updates else BLOCK


def _buffered(raw: SealedRaw, letter: str, updates: bool, size: int) -> Any:
    if updates:
        return io.BufferedRandom(raw, size)
    return (io.BufferedReader if letter == "r" else io.BufferedWriter)(raw, size)


def _clean(path: str) -> str:
    """One spelling for a path; nothing above the folder can be named."""
    parts: list[str] = []
    for part in os.fspath(path).split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _error(number: int, name: str) -> OSError:
    return OSError(number, os.strerror(number), name)


def _stat(mode: int, inode: int, size: int, modified: float) -> os.stat_result:
    seconds, whole = int(modified), int(modified * 1e9)
    kind = (mode, inode & 0xFFFFFFFF, 0, 1, os.getuid(), os.getgid(), size)
    times: dict[str, float] = {}
    for name in ("st_atime", "st_mtime", "st_ctime"):
        times[name], times[f"{name}_ns"] = modified, whole
    return os.stat_result((*kind, seconds, seconds, seconds), times)
