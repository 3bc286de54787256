"""What `narrow`, `ticket` and `install` share: a token's conditions in plain words, and as a QR code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bento.protocol.caveats import (
    OPERATIONS,
    AtBox,
    Bytes,
    Holder,
    NotAfter,
    Only,
    Runs,
    Unknown,
    Uses,
)
from bento.protocol.manifest import show_size
from bento.protocol.ticket import SessionTicket, ShutdownTicket, Ticket

if TYPE_CHECKING:
    from bento.protocol.caveats import Caveat

Line = Ticket | ShutdownTicket | SessionTicket

_ALLOWS = {
    "invoke": "start sessions of the function",
    "attach": "go on with a session whose name is known",
    "shutdown": "end the instance and everything it keeps",
}


def operations(line: Line) -> list[str]:
    """What the token allows of what there is, by name."""
    bits = sum(OPERATIONS.values())
    for condition in line.token.caveats:
        if isinstance(condition, Only):
            bits &= condition.operations
    return [name for name, bit in OPERATIONS.items() if bits & bit]


def limits_of(line: Line) -> dict[str, Any]:
    """What is known of a token without its box; the strictest where there are several. Stable keys."""
    found: dict[type, list[Any]] = {}
    for condition in line.token.caveats:
        found.setdefault(type(condition), []).append(condition)
    uses = min((item.limit for item in found.get(Uses, [])), default=None)
    size = min((item.limit for item in found.get(Bytes, [])), default=None)
    end = min((item.time for item in found.get(NotAfter, [])), default=None)
    return {
        "operations": operations(line),
        "uses": uses,
        "until": None if end is None else moment(end),
        "max_bytes": size,
        "holders": [item.key.hex() for item in found.get(Holder, [])],
        "unknown": len(found.get(Unknown, [])),
    }


def moment(time: int) -> str:
    try:
        return datetime.fromtimestamp(time, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return "the end of time"


def explain(line: Line) -> list[str]:
    """One plain sentence for each thing the line may do, must obey, and holds."""
    allowed = operations(line)
    words = [f"this {line.NOUN} is for the box of relay {line.box.hex().upper()}"]
    words += [f"it may {_ALLOWS[name]}" for name in allowed] or ["it allows nothing"]
    words += [say for condition in line.token.caveats if (say := _condition(condition))]
    if isinstance(line, SessionTicket):
        words.append("it holds the name of one session")
    enclosed = not isinstance(line, ShutdownTicket) and bool(line.pin)
    if enclosed:
        words.append("the function is in a conclave, which is attested again at each use")
    if line.function is not None:
        code = "the salted code" if enclosed else "the code"
        words.append(f"it works only while {code} has SHA-256 {line.function.hex()}")
    if isinstance(line, Ticket) and line.decryption:
        words.append("it holds a key to what the function keeps, which no box needs to see")
    if not any(isinstance(condition, Holder) for condition in line.token.caveats):
        words.append("whoever has it can use it")
    return words


def _condition(condition: Caveat) -> str:
    if isinstance(condition, Uses):
        return f"at most {condition.limit} sessions, with all that is narrowed from it"
    if isinstance(condition, Bytes):
        return f"at most {show_size(condition.limit)} through the box, both ways, all sessions together"
    if isinstance(condition, NotAfter):
        return f"until {moment(condition.time)}; open connections end then"
    if isinstance(condition, Holder):
        return f"only by the holder of the key {condition.key.hex()[:16]}…"
    if isinstance(condition, Unknown):
        return "a condition this bento does not know: only a newer box can accept it"
    assert isinstance(condition, Only | AtBox | Runs)
    return ""
