"""The closed set of events, and the types their fields may have.

Add a line to `Event` to log something new. A field is an `int` (written rounded up to a power of two), a
`Fault`, or a member of an enumeration of this file. There is no field of text, so that nothing of a
client, a function or a destination can get into one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType

_SOURCES = Path(__file__).parent.parent


class Level(Enum):
    INFO = "info"
    WARNING = "warning"  # the operator may want to look
    ERROR = "error"  # a fault of ours


class Library(Enum):
    """Who else may have something to say inside bentod."""

    ASYNCIO = "asyncio"
    WARNINGS = "py.warnings"
    OTHER = "another library"


@dataclass(frozen=True)
class Fault:
    """An error without its text: the name of its class, and where in our sources it was raised."""

    kind: str
    place: str

    @classmethod
    def of(cls, error: BaseException) -> Fault:
        place = "outside of bento"
        step = error.__traceback__
        while step is not None:
            path = Path(step.tb_frame.f_code.co_filename)
            if path.is_relative_to(_SOURCES):
                place = f"{path.relative_to(_SOURCES)}:{step.tb_lineno}"
            step = step.tb_next
        return cls(type(error).__name__, place)


Field = int | Fault | Enum


@dataclass(frozen=True)
class Kind:
    """How one event is written: `sentence` names each field in braces, `fields` gives its type."""

    level: Level
    sentence: str
    fields: Mapping[str, type[Field]]

    def text(self, values: Mapping[str, Field]) -> str:
        """Raises TypeError unless `values` are the event's fields, each exactly of its type."""
        if {name: type(value) for name, value in values.items()} != dict(self.fields):
            raise TypeError(f"the fields of this event are {dict(self.fields)}")
        shown = {name: _show(value) for name, value in values.items()}
        return self.sentence.format_map(shown)


def _show(value: Field) -> str:
    if isinstance(value, int):
        return f"<={coarse(value)}"
    if isinstance(value, Fault):
        return f"{value.kind} at {value.place}"
    return str(value.value)


def coarse(count: int) -> int:
    """`count` rounded up to a power of two: an exact one could tell of a single visit."""
    return 1 << (count - 1).bit_length() if count > 0 else 0


def _info(sentence: str, **fields: type[Field]) -> Kind:
    return Kind(Level.INFO, sentence, MappingProxyType(fields))


def _warning(sentence: str, **fields: type[Field]) -> Kind:
    return Kind(Level.WARNING, sentence, MappingProxyType(fields))


def _error(sentence: str, **fields: type[Field]) -> Kind:
    return Kind(Level.ERROR, sentence, MappingProxyType(fields))


class Event(Enum):
    """Every line that bentod can log."""

    OPEN = _info("the box is open")
    CLOSING = _info("the box closes")
    LEFTOVERS_ENDED = _warning("ended {count} sandboxes that an earlier bentod left", count=int)
    TAKEN_OVER = _info("took over {count} instances of an earlier bentod", count=int)
    JOURNAL_FAILED = _warning("the journal could not be written: {fault}", fault=Fault)
    TOR_LOST = _warning("the relay's tor went away; waiting for it")
    TOR_BACK = _warning("the relay's tor is back")
    FUNCTIONS_TOR_LOST = _warning("the functions' tor went away; waiting for it")
    FUNCTIONS_TOR_BACK = _warning("the functions' tor is back")
    SANDBOX_FAILED = _warning("a sandbox could not be started: {fault}", fault=Fault)
    NO_EVIDENCE = _warning("the platform gave a conclave no evidence: {fault}", fault=Fault)
    COLLATERAL_RENEWED = _info("new collateral was fetched and verified")
    COLLATERAL_FAILED = _warning(
        "new collateral could not be had, the old one stays: {fault}", fault=Fault
    )
    NO_COLLATERAL = _warning("there is no collateral to staple: {fault}", fault=Fault)
    COLLATERAL_ENDS = _warning("the collateral ends in {days} days", days=int)
    METRICS_OPEN = _info("metrics are served")
    FAULT = _error("a fault of bentod: {fault}", fault=Fault)
    LIBRARY = _warning("{library} complained", library=Library)
