"""Arguments typed on a command line become what `main`'s annotations ask for."""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any

from bento.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def convert(
    main: Callable[..., object], args: list[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Binds and converts. Raises UsageError that shows main's signature when it does not fit."""
    signature = inspect.signature(main)
    try:
        bound = signature.bind(None, *args, **kwargs)
    except TypeError as error:
        shown = str(signature).replace("(api, ", "(", 1).replace("(api)", "()", 1)
        raise UsageError(f"the arguments do not fit: {error}", f"it takes {shown}") from None
    try:
        hints = typing.get_type_hints(main)
    except Exception:  # an annotation that cannot be evaluated says nothing about types
        hints = {}
    for name, value in list(bound.arguments.items())[1:]:
        kind = signature.parameters[name].kind
        wanted = hints.get(name)
        if kind is inspect.Parameter.VAR_POSITIONAL:
            bound.arguments[name] = tuple(_convert(name, item, wanted) for item in value)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            bound.arguments[name] = {k: _convert(k, item, wanted) for k, item in value.items()}
        else:
            bound.arguments[name] = _convert(name, value, wanted)
    return list(bound.args[1:]), bound.kwargs


_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def _convert(name: str, value: Any, wanted: Any) -> Any:
    choices = typing.get_args(wanted) or (wanted,)
    if type(None) in choices and value in ("", "None", "none"):
        return None
    for choice in choices:
        try:
            return _CONVERTERS.get(choice, _as_is)(value)
        except (ValueError, UnicodeDecodeError):
            continue
    shown = getattr(wanted, "__name__", str(wanted))
    raise UsageError(f"argument {name!r} must be {shown}, not {str(value)[:40]!r}")


def _as_is(value: Any) -> Any:
    return value


def _bool(value: Any) -> bool:
    word = _text(value).lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(word)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    int: lambda value: int(_text(value), 0),
    float: lambda value: float(_text(value)),
    bool: _bool,
    str: _text,
    bytes: _bytes,
}
