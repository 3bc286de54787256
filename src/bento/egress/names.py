"""Host names as this room accepts them: one spelling each, and nothing that is secretly an address.

`127.1`, `0x7f000001` and `2130706433` are addresses to the C library (inet_aton); the WHATWG URL
standard ("ends in a number") is the rule that tells them from names.
"""

from __future__ import annotations

from bento.egress.limits import MAX_LABEL_LENGTH, MAX_NAME_LENGTH

_LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_HEX = frozenset("0123456789abcdef")


def parse_name(text: str) -> str | None:
    """The lower-case spelling of a host name without its trailing dot, or None if it is not one.

    Letters, digits, hyphens and underscores of ASCII only; international names come as `xn--`."""
    name = text.lower().removesuffix(".")
    if not name.isascii() or not 1 <= len(name) <= MAX_NAME_LENGTH:
        return None
    labels = name.split(".")
    if not all(_is_label(label) for label in labels) or _is_number(labels[-1]):
        return None
    return name


def _is_label(label: str) -> bool:
    return (
        1 <= len(label) <= MAX_LABEL_LENGTH
        and label[0] != "-"
        and label[-1] != "-"
        and _LABEL.issuperset(label)
    )


def _is_number(label: str) -> bool:
    return label.isdigit() or (label.startswith("0x") and _HEX.issuperset(label[2:]))
