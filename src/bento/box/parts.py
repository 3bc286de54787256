"""The parts a box is divided into: one for everybody, and one for each issuer whose passes it honours.

On a full box an instance of a part of weight 4 has what four of everybody's have: of the processor
(`Limits.weight`), of memory (here) and of the uplink (`uplink`). So a part's share of memory is its places
times its weight, over the sum of that.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bento.box.passes import load_cards
from bento.protocol.manifest import read_size

if TYPE_CHECKING:
    from bento.box.config import Config

EVERYBODY = ""


@dataclass(frozen=True)
class Part:
    """`places` are instances at most, `memory` the bytes that their manifests may ask for together
    (None: no bound but each one's own)."""

    places: int
    weight: float = 1.0
    memory: int | None = None


def parts_of(config: Config) -> dict[str, Part]:
    """By name: a card's, or EVERYBODY. Raises UsageError when a card cannot be read."""
    issuers, cards = config.admission.issuers, load_cards(config)
    parts = {
        card.id: Part(one.places, one.weight) for card, one in zip(cards, issuers, strict=True)
    }
    kept = sum(part.places for part in parts.values())
    parts[EVERYBODY] = Part(config.capacity.instances - kept)
    total = _memory(config)
    if total is None:
        return parts
    claims = sum(part.places * part.weight for part in parts.values())
    return {
        name: replace(part, memory=int(total * part.places * part.weight / claims))
        for name, part in parts.items()
    }


def _memory(config: Config) -> int | None:
    """What all instances may ask for. Functions use little of what they ask for, so a box that has but
    one part promises more than it has; where promises compete they are of memory that is there."""
    if config.capacity.total_memory:
        return read_size(config.capacity.total_memory)
    if config.admission.issuers:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None
