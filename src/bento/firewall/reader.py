"""Bytes of a function -> raw commands (control-spec §2.3), one at a time.

Invariants: any bytes give commands, `Refusal`s or one final `Refusal` after which the stream is
dead; the same whatever the pieces they come in; never more than one command's limits is held
for an unfinished command. What leaves here is printable ASCII: no CR, LF, NUL or tab can get
into a rebuilt line.
"""

from __future__ import annotations

from dataclasses import dataclass

from bento.firewall.limits import MAX_DATA, MAX_LINE
from bento.firewall.refusal import Refusal, malformed

_PRINTABLE = bytes(range(0x20, 0x7F))
_KEYWORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_MAX_KEYWORD = 32


@dataclass(frozen=True, slots=True)
class RawCommand:
    """A keyword in upper case, its arguments as written, and the data of a `+` command.

    `data` has its lines ended by LF and its leading dots unstuffed. The repr shows no argument:
    keys and addresses pass here.
    """

    keyword: str
    arguments: str
    data: bytes | None = None

    def __repr__(self) -> str:
        return f"<RawCommand {self.keyword}>"


class CommandReader:
    """Feed bytes, take commands. After `dead` is set nothing more comes out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._head: RawCommand | Refusal | None = None
        self._data: list[bytes] = []
        self._data_size = 0
        self.dead = False

    @property
    def buffered(self) -> int:
        """Bytes that wait here and are not yet part of a taken command."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        if not self.dead:
            self._buffer += data

    def next(self) -> RawCommand | Refusal | None:
        """The next command, the refusal of a malformed one, or None until more bytes come."""
        while (line := self._line()) is not None:
            if isinstance(line, Refusal):
                return line
            if self._head is not None:
                if (done := self._data_line(line)) is not None:
                    return done
                continue
            if line.startswith(b"+"):
                self._head = _head(line[1:])
                continue
            return _head(line)
        return None

    def _line(self) -> bytes | Refusal | None:
        if self.dead:
            return None
        end = self._buffer.find(b"\n", self._searched, MAX_LINE + 1)
        if end < 0:
            self._searched = min(len(self._buffer), MAX_LINE + 1)
            if len(self._buffer) > MAX_LINE:
                return self._die(f"a line is longer than {MAX_LINE} bytes")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line[:-1] if line.endswith(b"\r") else line

    def _data_line(self, line: bytes) -> RawCommand | Refusal | None:
        if line == b".":
            head, data = self._head, b"".join(self._data)
            self._head, self._data, self._data_size = None, [], 0
            if not isinstance(head, RawCommand):
                return head
            if data.translate(None, _PRINTABLE + b"\n"):
                return malformed("the data of a command must be printable ASCII lines")
            return RawCommand(head.keyword, head.arguments, data)
        self._data_size += len(line) + 1
        if self._data_size > MAX_DATA:
            return self._die(f"the data of a command is longer than {MAX_DATA} bytes")
        self._data.append((line[1:] if line.startswith(b".") else line) + b"\n")
        return None

    def _die(self, why: str) -> Refusal:
        self.dead = True
        self._buffer.clear()
        self._data.clear()
        return malformed(f"{why}; closing", status=500)


def _head(line: bytes) -> RawCommand | Refusal:
    if line.translate(None, _PRINTABLE):
        return malformed("a line may hold printable ASCII only", status=500)
    keyword, _, arguments = line.decode("ascii").partition(" ")
    keyword = keyword.upper()
    if not keyword or len(keyword) > _MAX_KEYWORD or not _KEYWORD.issuperset(keyword):
        return malformed("a line must begin with a command", status=500)
    return RawCommand(keyword, arguments)
