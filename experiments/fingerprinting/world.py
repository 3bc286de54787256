"""An open world: most of what people read is not what the observer looks for.

Every second site is monitored. Of the other sites the attacker has seen one half, as what is none of the
monitored ones, and is tested on the other half, which he never saw; then the halves change places. What he
says of a visit counts if it is the right monitored site, not merely a monitored one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.fingerprinting.judge import folds
from experiments.fingerprinting.store import Visit

if TYPE_CHECKING:
    from experiments.fingerprinting.attacks import Guess

_NONE = 0
"""The label of all sites that are not monitored."""


@dataclass(frozen=True)
class World:
    right: int
    """Visits to monitored sites that were recognised."""
    said: int
    """Visits that were said to be to one of them."""
    monitored: int
    """Visits to them."""
    others: int
    """Visits to sites the attacker never saw."""

    @property
    def precision(self) -> float:
        return self.right / max(1, self.said)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.monitored)


def open_world(guess: Guess, visits: Sequence[Visit]) -> World:
    """What an attack reaches; each round is tested once, with each half of the other sites."""
    places = {site: place for place, site in enumerate(sorted({v.site for v in visits}))}
    place = np.array([places[visit.site] for visit in visits])
    labels = np.where(place % 2 == 0, place // 2 + 1, _NONE)
    half = place // 2 % 2
    right = said = monitored = others = 0
    for training, test in folds([visit.number for visit in visits]):
        for unseen in (0, 1):
            known = training[(labels[training] != _NONE) | (half[training] != unseen)]
            asked = test[(labels[test] != _NONE) | (half[test] == unseen)]
            guesses, truth = guess(visits, labels, known, asked), labels[asked]
            right += int(((guesses == truth) & (truth != _NONE)).sum())
            said += int((guesses != _NONE).sum())
            monitored += int((truth != _NONE).sum())
            others += int((truth == _NONE).sum())
    return World(right, said, monitored, others)
