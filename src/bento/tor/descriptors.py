"""Full relay descriptors, as far as finding boxes needs them.

Invariant: a descriptor that is not of the expected form is left out, never guessed at. Tor has
checked each one's signature, and that its fingerprint is that of the signing key; every other word
in it is the relay operator's own.

Format: dir-spec 2.1.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# Twice what authorities accept (20,000 bytes).
MAX_DESCRIPTOR = 40_000  # characters
_FINGERPRINT_DIGITS = frozenset("0123456789ABCDEF")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """The parts of a relay's descriptor that concern us."""

    fingerprint: str
    contact: str = ""
    family: frozenset[str] = frozenset()


def parse_descriptors(text: str) -> Iterator[Descriptor]:
    """`GETINFO desc/all-recent` -> its readable descriptors."""
    for body in ("\n" + text).split("\nrouter ")[1:]:
        if len(body) <= MAX_DESCRIPTOR and (descriptor := _parse(body)):
            yield descriptor


def _parse(body: str) -> Descriptor | None:
    values: dict[str, str] = {}
    for line in _outside_objects(body):
        key, _, rest = line.partition(" ")
        # The first one stands, should tor ever let a second pass.
        values.setdefault(key, rest)
    fingerprint = values.get("fingerprint", "").replace(" ", "")
    if len(fingerprint) != 40 or not _FINGERPRINT_DIGITS.issuperset(fingerprint):
        return None
    members = (word[1:41].upper() for word in values.get("family", "").split() if word[0] == "$")
    return Descriptor(fingerprint, values.get("contact", ""), frozenset(members))


def _outside_objects(body: str) -> Iterator[str]:
    inside = False
    for line in body.split("\n"):
        if line.startswith("-----BEGIN "):
            inside = True
        elif line.startswith("-----END "):
            inside = False
        elif not inside:
            yield line
