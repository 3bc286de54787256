"""R15: words that must not be found, and a look at every place where a box could leave one.

`plant(what)` gives a word of 80 random bits to put into something private; every ticket that the tests get is
planted too. From the run's beginning to its end the command lines, environments and file names of all our
processes are written down; at the end those, every log, and what boxes inside pytest's own process
logged are searched for each word in each spelling it could have.
"""

from __future__ import annotations

import base64
import logging
import os
import secrets
import threading
from pathlib import Path

from bento import safelog

_PAUSE = 2.0  # seconds between two looks at the processes
_LOGS = ("*.log", "*.log.*", "log", "stdout*", "stderr*")
# What a user types stands in the process list of their own machine.
_USER = (b"bento.cli.main\0", b"/bento\0")
LOOKING = threading.Lock()
"""Held during a look: who counts this process's own descriptors takes it."""
_DISTINCT = 8  # different bytes a secret has at least: "tttt…" is some test's stand-in


class Canaries:
    """`homes` are the folders of the networks whose logs and names count, `logs` more folders with logs."""

    def __init__(self, homes, logs=()):
        self._homes = tuple(homes)
        self._log_folders = tuple(logs)
        self._planted: dict[bytes, str] = {}
        self._traces: dict[bytes, str] = {}  # what was seen -> where
        self._lines: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="canaries", daemon=True)

    def plant(self, what: str) -> str:
        """A word for something private of the kind `what`; it is a valid label of a host name too."""
        word = f"kanarie{secrets.token_hex(10)}"
        self.add(what, word.encode())
        return word

    def add(self, what: str, value: bytes) -> None:
        """A value that must not be found, in any of its spellings."""
        self._planted |= dict.fromkeys(spellings(value), what)

    def add_all_of(self, what: str, thing: object) -> None:
        """The token inside a ticket, and the ticket's own line."""
        if len(set(thing.token.seal)) >= _DISTINCT:
            self.add(what, thing.token.encode())
            self.add(what, thing.token.seal)
            self.add(what, thing.encode().encode())

    def start(self) -> None:
        safelog.start(self._lines.append)
        self._handler = _Collector(self._lines)
        logging.root.addHandler(self._handler)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        logging.root.removeHandler(self._handler)
        safelog.start(None)

    def found(self) -> list[str]:
        """Each place where a planted word is, as `kind: place`."""
        self.look()
        places = dict(self._traces)
        places |= {b"\n".join(line.encode() for line in self._lines): "the log of a box in pytest"}
        for path in self._log_files():
            places[path.read_bytes()] = f"the file {path}"
        search = Search(self._planted)
        return sorted(
            {f"{what}: {where}" for text, where in places.items() for what in search(text)}
        )

    # -- what is looked at -----------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stop.wait(_PAUSE):
            self.look()

    def look(self) -> None:
        """Writes down what the processes and the folders show at this moment."""
        with LOOKING:
            self._look()

    def _look(self) -> None:
        for pid in self._our_processes():
            for part in ("cmdline", "environ", "comm"):
                try:
                    text = Path(f"/proc/{pid}/{part}").read_bytes()
                except OSError:  # it has ended
                    continue
                if part == "cmdline" and any(command in text for command in _USER):
                    break
                self._traces[text] = f"the {part} of a process ({text[:60]!r}…)"
        for name in self._names():
            self._traces[name] = f"the file name {name!r}"

    def _our_processes(self) -> set[int]:
        """Every process below this one, and below whoever names a folder of ours."""
        parents, roots = {}, {os.getpid()}
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            try:
                stat = Path(entry.path, "stat").read_bytes().rpartition(b") ")[2].split()
                command = Path(entry.path, "cmdline").read_bytes()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat[1])
            if any(str(home).encode() in command for home in self._homes):
                roots.add(int(entry.name))
        ours = set()
        for pid in parents:
            line, at = [], pid
            while at in parents and at not in roots:
                line.append(at)
                at = parents[at]
            if at in roots:
                ours |= {*line, at}
        return ours - {os.getpid()}

    def _names(self):
        folders = [*self._homes, *Path("/tmp").glob("bento-*")]
        for folder in folders:
            for where, inner, files in os.walk(folder):
                yield from (os.fsencode(os.path.join(where, name)) for name in (*inner, *files))
        for line in Path("/proc/net/unix").read_bytes().splitlines():
            if any(str(folder).encode() in line for folder in folders):
                yield line.rpartition(b" ")[2]
        for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory"):
            yield from (os.fsencode(path.name) for path in Path(root).glob("*bento*/*"))

    def _log_files(self):
        for folder in (*self._homes, *self._log_folders):
            for pattern in _LOGS:
                yield from (path for path in folder.rglob(pattern) if path.is_file())


class _Collector(logging.Handler):
    def __init__(self, lines):
        super().__init__()
        self._lines = lines
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record):
        if record.name.startswith(("bento", "asyncio", "py.warnings")):
            self._lines.append(self.format(record))


class Search:
    """Many words in much text, in a time that does not grow with the number of words."""

    _BEGIN = 8  # bytes by which a word is looked up; all are longer

    def __init__(self, words: dict[bytes, str]) -> None:
        self._by_begin: dict[bytes, list[tuple[bytes, str]]] = {}
        for word, what in words.items():
            self._by_begin.setdefault(word[: self._BEGIN], []).append((word, what))

    def __call__(self, text: bytes):
        size = self._BEGIN
        begins = self._by_begin
        for at in range(len(text) - size + 1):
            if text[at : at + size] in begins:
                for word, what in begins[text[at : at + size]]:
                    if text.startswith(word, at):
                        yield what


def spellings(value: bytes) -> set[bytes]:
    """`value` as it is and as logs and names could write it."""
    plain = {
        value,
        value.hex().encode(),
        base64.b64encode(value).rstrip(b"="),
        base64.urlsafe_b64encode(value).rstrip(b"="),
        base64.b32encode(value).rstrip(b"="),
        repr(value)[2:-1].encode(),
        value[::-1],
    }
    return plain | {each.upper() for each in plain} | {each.lower() for each in plain}
