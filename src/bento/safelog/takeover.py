"""Everything else that could write on a log: the standard library, dependencies, uncaught errors.

asyncio reports a lost exception with its text, the default hooks print tracebacks with the values in
messages. `take_over` reduces all of it to events. Tracebacks are for `--debug`, on a box nobody uses.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType

from bento.safelog.events import Event, Fault, Library
from bento.safelog.lines import log, start


def take_over(*, tracebacks: bool = False) -> None:
    """bentod's log goes to stderr from here on, and only events get there.

    With `tracebacks` what libraries print is left as it was: for a box that nobody uses."""
    start(_to_stderr)
    if tracebacks:
        return
    logging.captureWarnings(True)
    logging.root.handlers = [Reduced()]
    logging.root.setLevel(logging.WARNING)
    sys.excepthook = _uncaught
    sys.unraisablehook = lambda lost: _fault(lost.exc_value)
    threading.excepthook = lambda lost: _fault(lost.exc_value)


class Reduced(logging.Handler):
    """A record becomes the fault it reports, or the bare news that its library complained."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            _fault(record.exc_info[1])
        else:
            log(Event.LIBRARY, library=_library(record.name.partition(".")[0]))


def _library(name: str) -> Library:
    return {"asyncio": Library.ASYNCIO, "py": Library.WARNINGS}.get(name, Library.OTHER)


def _uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    _fault(error)


def _fault(error: BaseException | None) -> None:
    log(Event.FAULT, fault=Fault.of(error or RuntimeError()))


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
