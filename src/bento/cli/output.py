"""What the commands print: payload on stdout, everything for people on stderr, JSON on request."""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

from bento.errors import BentoError, BusyError


def plain(text: str) -> str:
    """`text` with everything a terminal would act on made visible (`\\x1b`): boxes and functions word
    refusals, log lines and tracebacks, and must not thereby move, hide or colour anything."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text
    )


def say(text: str) -> None:
    """A line for a person, on stderr."""
    print(plain(text), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """A line for a person that is the command's own answer, on stdout."""
    print(plain(text), flush=True)


def emit(**values: Any) -> None:
    """One JSON object on one line of stdout; the keys are a promise."""
    print(json.dumps(values, separators=(",", ":")), flush=True)


def summary(**values: Any) -> None:
    """The same on stderr, for commands whose stdout is payload."""
    print(json.dumps(values, separators=(",", ":")), file=sys.stderr, flush=True)


def report(error: BentoError, *, debug: bool = False, as_json: bool = False) -> int:
    """Shows an error in one plain sentence with its hint; returns its exit status."""
    if as_json:
        busy = _busy(error) if isinstance(error, BusyError) else {}
        summary(error=error.kind, detail=error.detail, hint=error.hint, **busy)
    else:
        say(f"error: {error.detail}")
        for note in getattr(error, "__notes__", ()):
            say(note.rstrip())
        if error.hint:
            say(f"hint: {error.hint}")
    if debug:
        traceback.print_exception(error)
    return error.exit_status


def _busy(error: BusyError) -> dict[str, int]:
    """What a program needs to decide: hashes to pay, or seconds to wait."""
    return {"price": getattr(error.quote, "work", 0), "wait": error.wait}
