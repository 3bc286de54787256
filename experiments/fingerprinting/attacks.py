"""The attackers: each is taught some rounds of visits, and then says of others which site they went to.

All their numbers were fixed before the first trace was looked at: those of the papers, or of a run on
simulated traces. Nothing is chosen by looking at a test.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from experiments.fingerprinting import features
from experiments.fingerprinting.cells import Trace
from experiments.fingerprinting.deep import Net
from experiments.fingerprinting.judge import Ints, folds
from experiments.fingerprinting.original import DeepFingerprinting, directions, timed_directions
from experiments.fingerprinting.store import Visit

TREES = 500
SVM_COST = 100.0

Guess = Callable[[Sequence[Visit], Ints, Ints, Ints], NDArray[np.intp]]
"""(visits, labels, training, test) -> a guess for each test."""


@dataclass(frozen=True)
class Score:
    hits: int
    of: int
    seconds: float
    """Of processor time."""


def forest(visits: Sequence[Visit], labels: Ints, training: Ints, test: Ints) -> NDArray[np.intp]:
    rows = np.array([features.kfp(visit.trace) for visit in visits])
    model = RandomForestClassifier(TREES, random_state=0)
    return _fitted(model, rows, labels, training, test)


def svm(visits: Sequence[Visit], labels: Ints, training: Ints, test: Ints) -> NDArray[np.intp]:
    rows = np.array([features.cumul(visit.trace) for visit in visits])
    model = make_pipeline(StandardScaler(), SVC(C=SVM_COST, gamma="scale"))
    return _fitted(model, rows, labels, training, test)


def deep(visits: Sequence[Visit], labels: Ints, training: Ints, test: Ints) -> NDArray[np.intp]:
    slots = np.stack([features.slots(visit.trace) for visit in visits])
    totals = np.array([features.totals(visit.trace) for visit in visits], dtype=np.float32)
    net = Net(int(labels.max()) + 1)
    net.fit(slots[training], totals[training], labels[training])
    return net.predict(slots[test], totals[test])


def original(visits: Sequence[Visit], labels: Ints, training: Ints, test: Ints) -> NDArray[np.intp]:
    return _published(visits, labels, training, test, directions)


def tik_tok(visits: Sequence[Visit], labels: Ints, training: Ints, test: Ints) -> NDArray[np.intp]:
    return _published(visits, labels, training, test, timed_directions)


def _published(
    visits: Sequence[Visit],
    labels: Ints,
    training: Ints,
    test: Ints,
    seen: Callable[[Trace], NDArray[np.float32]],
) -> NDArray[np.intp]:
    rows = np.stack([seen(visit.trace) for visit in visits])
    net = DeepFingerprinting(int(labels.max()) + 1)
    net.fit(rows[training], labels[training])
    return net.predict(rows[test])


def _fitted(
    model: Any, rows: NDArray[np.float64], labels: Ints, training: Ints, test: Ints
) -> NDArray[np.intp]:
    with warnings.catch_warnings():
        # With two or three visits to a site, scikit-learn wonders whether sites are numbers.
        warnings.filterwarnings("ignore", message="The number of unique classes")
        model.fit(rows[training], labels[training])
    return np.asarray(model.predict(rows[test]))


ATTACKS: dict[str, Guess] = {"k-FP": forest, "CUMUL": svm, "small DF": deep}
"""Minutes for all cases together; every round is tested once."""

PUBLISHED: dict[str, Guess] = {"k-FP": forest, "DF": original, "Tik-Tok": tik_tok}
"""The networks as published take minutes of processor time a case and fold, so there is one fold; the
quickest attack stands beside them."""

LEARNED_ROUNDS = 4
"""Of that fold: the first four rounds are learned from, the later ones are guessed."""


def attack(name: str, visits: Sequence[Visit]) -> Score:
    """What the attack `name` reaches on one case's visits, each round tested once."""
    return _score(ATTACKS[name], visits, folds([visit.number for visit in visits]))


def published(name: str, visits: Sequence[Visit]) -> Score:
    """What one of PUBLISHED reaches on the later rounds."""
    early = np.array([visit.number < LEARNED_ROUNDS for visit in visits])
    fold = (np.flatnonzero(early), np.flatnonzero(~early))
    return _score(PUBLISHED[name], visits, [fold])


def _score(guess: Guess, visits: Sequence[Visit], judged: Iterable[tuple[Ints, Ints]]) -> Score:
    began = time.process_time()
    _, labels = np.unique([visit.site for visit in visits], return_inverse=True)
    hits = tested = 0
    for training, test in judged:
        hits += int((guess(visits, labels, training, test) == labels[test]).sum())
        tested += len(test)
    return Score(hits, tested, time.process_time() - began)
