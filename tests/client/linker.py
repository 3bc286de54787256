"""What a box sees of its visitors, and a linker that guesses from it whose visits belong together.

A view is everything at the box's side of a connection but what the function itself says (its manifest,
code, arguments and streams): the bytes of hello, session name and owner's proof, the size of every
piece, and the time between pieces.
"""

from __future__ import annotations

import numpy as np
from tests.door_tap import Recording

from bento.protocol import door, limits, session
from bento.protocol.padding import Pad
from bento.protocol.wire import FrameReader, encode

SIZES = ("request", "upload")  # by the messages' own borders: no race decides them
RACY = ("first_turn", "second_turn", "all_in", "all_out", "turns", "code_after", "bye_after")
_FIRST = (session.Load, session.Code, session.Invoke, Pad)
NAMES = ("session", "owner", "hello")


class View(Recording):
    """What can be read and measured of one connection."""

    def turns(self) -> list[tuple[bool, float, float, int]]:
        """(whose, first second, last second, bytes) of each run of pieces of one side."""
        found: list[tuple[bool, float, float, int]] = []
        for now, mine, data in self.pieces:
            if found and found[-1][0] is mine:
                _, first, _, size = found[-1]
                found[-1] = (mine, first, now, size + len(data))
            else:
                found.append((mine, now, now, len(data)))
        return found

    def messages(self) -> list[object]:
        """What the client said, in messages."""
        types = (door.Hello, Pad, door.Create, door.Open, *session.FROM_CLIENT)
        return list(FrameReader(types, limits.SESSION_FRAME).feed(self.sent(True)))

    def flights(self) -> tuple[int, int]:
        """Bytes of the request and of what follows up to the call, by the messages' own borders."""
        sizes = [0, 0]
        messages = self.messages()
        asked = next(i for i, m in enumerate(messages) if isinstance(m, door.Create))
        for number, message in enumerate(messages):
            if number <= asked or isinstance(message, _FIRST):
                sizes[number > asked] += len(encode(message))
        return sizes[0], sizes[1]

    def features(self) -> dict[str, float]:
        """Numbers of this view, named in SIZES and RACY. It is a view of `Box.run`."""
        turns = self.turns()
        mine = [turn for turn in turns if turn[0]]
        return {
            **dict(zip(SIZES, self.flights(), strict=True)),
            "first_turn": mine[0][3],
            "second_turn": mine[1][3],
            "all_in": len(self.sent(True)),
            "all_out": len(self.sent(False)),
            "turns": len(mine),
            "code_after": mine[1][1] - turns[1][2],
            "bye_after": mine[-1][1] - mine[1][2],
        }

    def names(self) -> dict[str, bytes]:
        """What could name a client, named in NAMES."""
        messages = self.messages()
        hello, invoke = messages[0], next(m for m in messages if isinstance(m, session.Invoke))
        load = next(m for m in messages if isinstance(m, session.Load))
        return {
            "hello": repr(vars(hello)).encode(),
            "session": invoke.session,
            "owner": load.owner,
        }


def common_prefix(one: bytes, other: bytes) -> int:
    """Bytes in which both begin alike; up to two are chance, one pair in 256."""
    pairs = zip(one, other, strict=False)
    alike = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    return alike if alike > 2 else 0


class Linker:
    """Guesses from two views, of two different functions, whether one user made both.

    `first` and `second` are the views of all users: number i of both is the same user. Sizes and times
    are compared after taking away what belongs to the function: its mean over all users.
    """

    def __init__(self, first: list[View], second: list[View], numbers=(*SIZES, *RACY)) -> None:
        self._numbers = [_standard(views, numbers) for views in (first, second)]
        self._names = [[view.names() for view in views] for views in (first, second)]
        self.users = len(first)

    def pair(self, i: int, j: int) -> list[float]:
        """The features of (user i's first function, user j's second)."""
        near = -np.abs(self._numbers[0][i] - self._numbers[1][j])
        ones, others = self._names[0][i], self._names[1][j]
        return [*near, *(common_prefix(ones[name], others[name]) for name in NAMES)]

    def scores(self, rng: np.random.Generator, others: int) -> tuple[np.ndarray, np.ndarray]:
        """(scores of each user's own pair, scores of pairs with `others` other users each), by
        logistic regression trained on the other half of the users."""
        own = np.array([self.pair(i, i) for i in range(self.users)])
        half = rng.permutation(self.users) % 2
        partners = [
            rng.choice(np.flatnonzero((half == half[i]) & (np.arange(self.users) != i)), others)
            for i in range(self.users)
        ]
        foreign = np.array([[self.pair(i, j) for j in row] for i, row in enumerate(partners)])
        mine, theirs = np.empty(self.users), np.empty((self.users, others))
        for side in (0, 1):
            train, test = half != side, half == side
            alien = foreign[train].reshape(-1, own.shape[1])
            weigh = regression(own[train], alien)
            rank = ranking(np.append(weigh(own[test]), weigh(foreign[test]).ravel()))
            mine[test], theirs[test] = rank(weigh(own[test])), rank(weigh(foreign[test]))
        return mine, theirs


def ranking(scores: np.ndarray):
    """From scores to their ranks, 0 to 1: what two models say can be compared only so."""
    ordered = np.sort(scores)

    def rank(some):
        return (
            np.searchsorted(ordered, some, "left") + np.searchsorted(ordered, some, "right")
        ) / (2 * len(ordered))

    return rank


def _standard(views: list[View], numbers) -> np.ndarray:
    table = np.array([[view.features()[name] for name in numbers] for view in views])
    spread = table.std(axis=0)
    return (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1)


def regression(yes: np.ndarray, no: np.ndarray, ridge: float = 1e-2, rounds: int = 30):
    """Logistic regression by Newton's method, classes weighted alike; returns a scoring function."""
    rows = np.vstack([yes, no])
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.where(spread > 0, spread, 1)

    def prepare(x):
        return np.concatenate([(x - mean) / spread, np.ones((*x.shape[:-1], 1))], axis=-1)

    x = prepare(rows)
    truth = np.concatenate([np.ones(len(yes)), np.zeros(len(no))])
    share = np.where(truth == 1, 0.5 / len(yes), 0.5 / len(no))
    weights = np.zeros(x.shape[1])
    for _ in range(rounds):
        guess = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (share * (guess - truth)) + ridge * weights
        bend = (x * (share * guess * (1 - guess))[:, None]).T @ x + ridge * np.eye(len(weights))
        weights -= np.linalg.solve(bend, slope)
    return lambda rows: prepare(rows) @ weights


def auc(yes: np.ndarray, no: np.ndarray) -> float:
    """The chance that a pair of one user scores above a pair of two; 0.5 is guessing."""
    ordered = np.sort(no.ravel())
    below = np.searchsorted(ordered, yes, "left")
    upto = np.searchsorted(ordered, yes, "right")
    return float((below + upto).mean() / 2 / ordered.size)


def auc_interval(
    mine: np.ndarray, theirs: np.ndarray, rng: np.random.Generator, rounds: int = 1000
) -> tuple[float, float, float]:
    """(lower, AUC, upper): 95 %, by bootstrap over users, whose pairs depend on each other."""
    draws = (rng.integers(0, len(mine), len(mine)) for _ in range(rounds))
    found = [auc(mine[draw], theirs[draw]) for draw in draws]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), auc(mine, theirs), float(high)
