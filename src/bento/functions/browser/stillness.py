"""Whether anything in a loaded page could still ask for something: by itself, or when it is shown.

A page without scripts, frames, players and lazy parts has asked for everything by its load event, and
need neither be watched for half a second nor be shown all the way down. What was recorded tells:
no answer may hold a word that stands for more. A word too many costs a second, never a resource; so
the words are looked for everywhere, in text as in markup. Pure, standard library only.
"""

import re
from collections.abc import Iterable

from .http import header
from .pack import UNANSWERED, Exchange

_WORDS = re.compile(
    rb"<[a-z]*:?script|[\s\"'/]on[a-z]{3,}\s*=|javascript:"  # scripts
    rb"|<(?:i?frame|object|embed|portal|video|audio|animate|set)\b|srcdoc|data:(?:text|application)/"
    rb"|loading\s*=|content-visibility|@keyframes|http-equiv\s*=\s*[\"']?\s*refresh|<\?xml-stylesheet"
    rb"|prefetch|prerender"  # these come when the page is idle
    rb"|\x00",  # UTF-16 and -32, in which none of these words would be found
    re.IGNORECASE,
)

_DEAD = (
    "image/",
    "font/",
    "application/font",
    "application/x-font",
    "application/vnd.ms-fontobject",
)
"""Kinds of bodies that cannot ask for anything. A picture in SVG can, when it is the page itself."""

_TEXT = (
    "text/html",
    "text/css",
    "text/plain",
    "text/xml",
    "application/xml",
    "application/xhtml+xml",
    "image/svg",
)
"""Kinds that are searched; whatever is neither is taken for something that lives."""


def is_still(exchanges: Iterable[Exchange]) -> bool:
    """Whether a loaded page that is made of `exchanges` will ask for nothing more."""
    return all(map(_is_still, exchanges))


def _is_still(exchange: Exchange) -> bool:
    if exchange.method != "GET" or exchange.error == UNANSWERED or exchange.cut:
        return False
    if header(exchange.headers, "refresh"):
        return False
    kind = header(exchange.headers, "content-type")
    if kind.startswith(_TEXT) or not kind:
        return _WORDS.search(exchange.body) is None
    return kind.startswith(_DEAD)
