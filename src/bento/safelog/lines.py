"""From events to lines: coarse times, and no more than one line a minute of a kind.

A line is `YYYY-MM-DD HH:MM LEVEL sentence`, in UTC: no time zone tells where the box is, no second when
somebody came. A repeated event is counted and told once its minute is over, so that nobody can
fill the disk with lines either.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from bento.safelog.events import Event, Field, coarse

_MINUTE = 60  # seconds


class Log:
    """Writes each event through `write`, a line at a time, without the newline."""

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._write = write
        self._clock = clock
        self._minute = 0
        self._seen: Counter[str] = Counter()  # bounded by the table of events and our own sources

    def note(self, event: Event, **fields: Field) -> None:
        """Raises TypeError when the fields are not the event's."""
        line = f"{event.value.level.value} {event.value.text(fields)}"
        minute = int(self._clock()) // _MINUTE
        if minute != self._minute:
            self._tell_repeats()
            self._minute = minute
        self._seen[line] += 1
        if self._seen[line] == 1:
            self._line(line)

    def _tell_repeats(self) -> None:
        for line, count in self._seen.items():
            if count > 1:
                self._line(f"{line} (<={coarse(count)} times in that minute)")
        self._seen.clear()

    def _line(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M", time.gmtime(self._minute * _MINUTE))
        self._write(f"{stamp} {text}")


def _nowhere(line: str) -> None:
    """A program that did not start a log keeps none."""


_started = Log(_nowhere)


def start(write: Callable[[str], None] | None) -> None:
    """From here on this process logs through `write`; with None it logs nothing."""
    global _started
    _started = Log(write or _nowhere)


def log(event: Event, **fields: Field) -> None:
    """Logs one event of the closed table, as in `log(Event.LEFTOVERS_ENDED, count=2)`."""
    _started.note(event, **fields)
