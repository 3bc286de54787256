"""A value that does not show: not in a repr, a message, a log or a pickle."""

from __future__ import annotations

import hmac
from typing import Generic, TypeVar

T = TypeVar("T")

_SHOWN = "[sensitive]"


class Sensitive(Generic[T]):
    """Wraps `value`; only `reveal()` gives it back. Two are equal if what they wrap is."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """The value itself. Each call is a place to look at in a review."""
        return self._value

    def __repr__(self) -> str:
        return _SHOWN

    def __str__(self) -> str:
        return _SHOWN

    def __format__(self, spec: str) -> str:
        return _SHOWN

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sensitive):
            return NotImplemented
        mine, theirs = self._value, other._value
        if isinstance(mine, bytes) and isinstance(theirs, bytes):
            return hmac.compare_digest(mine, theirs)
        return bool(mine == theirs)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a sensitive value is never pickled or copied")
