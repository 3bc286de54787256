"""Deep Fingerprinting as it was published, in JAX, on the processor; and Tik-Tok, the same on other input.

Sirinam and others, "Deep Fingerprinting", CCS 2018 (table 1, and the code that goes with it): a trace's
first 5,000 directions, four blocks of two convolutions, each with batch normalisation, then pooling and
dropout, two dense layers of 512, Adamax. Rahman and others, "Tik-Tok", PoPETs 2020: the input is each cell's
time with its direction as sign. Every number below is DF's but two, for the papers learn from 800 visits to
a site, and all of ours are four batches of theirs: a batch has 32 traces, and what normalisation needs is
measured on all of them in the end, where DF keeps a moving average over some 18,000 steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from experiments.fingerprinting.cells import Trace

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Tree = Any

CELLS = 5000
CHANNELS = (32, 64, 128, 256)
KERNEL = 8
POOL, STRIDE = 8, 4
DENSE = ((512, 0.7), (512, 0.5))  # units, dropout behind them
DROPOUT = 0.1  # behind each block
EPOCHS = 30
RATE = 2e-3
BATCH = 32
_EPSILON = 1e-3  # of normalisation, Keras' own
_SEED = 1
_LAYOUT = ("NWC", "WIO", "NWC")


def directions(trace: Trace) -> Floats:
    """DF's input: +1 a cell from the user, -1 a cell to her, 0 after the last."""
    return _filled(trace.directions())


def timed_directions(trace: Trace) -> Floats:
    """Tik-Tok's: the same, times when it passed."""
    return _filled(trace.directions() * trace.cell_times())


def _filled(values: NDArray[Any]) -> Floats:
    row = np.zeros((CELLS, 1), dtype=np.float32)
    row[: len(values), 0] = values[:CELLS]
    return row


class DeepFingerprinting:
    """Fit, then predict."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._weights: Tree = None
        self._norms: Tree = None

    def fit(self, rows: Floats, labels: Ints) -> None:
        key = jax.random.PRNGKey(_SEED)
        weights = _initial(key, self._classes)
        state = (weights, _zeros(weights), _zeros(weights), 0)
        order = np.random.default_rng(_SEED)
        for _ in range(EPOCHS):
            for picked in _batches(order.permutation(len(labels))):
                key, dropout = jax.random.split(key)
                state = _step(state, rows[picked], labels[picked], dropout)
        self._weights = state[0]
        seen = [
            _measure(self._weights, rows[picked]) for picked in _batches(np.arange(len(labels)))
        ]
        self._norms = jax.tree_util.tree_map(lambda *each: sum(each) / len(each), *seen)

    def predict(self, rows: Floats) -> Ints:
        picks = [rows[picked] for picked in _batches(np.arange(len(rows)))]
        scores = np.concatenate([_scores(self._weights, each, self._norms) for each in picks])
        return scores[: len(rows)].argmax(axis=1)


def _batches(order: Ints) -> Iterator[Ints]:
    """All of one size, so that there is one program to compile: the last is filled up from the first."""
    count = -(-len(order) // BATCH)
    yield from np.resize(order, count * BATCH).reshape(count, BATCH)


def _initial(key: Any, classes: int) -> Tree:
    """Glorot's uniform weights, Keras' own."""
    weights: dict[str, Any] = {}
    shapes = []
    coming, length = 1, CELLS
    for channels in CHANNELS:
        shapes += [(KERNEL, coming, channels), (KERNEL, channels, channels)]
        coming, length = channels, -(-length // STRIDE)
    flat = coming * length
    for units, _ in DENSE:
        shapes.append((flat, units))
        flat = units
    shapes.append((flat, classes))
    for number, shape in enumerate(shapes):
        key, use = jax.random.split(key)
        field = int(np.prod(shape[:-2]))
        most = (6 / (field * (shape[-2] + shape[-1]))) ** 0.5
        weights[f"weight{number}"] = jax.random.uniform(use, shape, minval=-most, maxval=most)
        weights[f"shift{number}"] = jnp.zeros(shape[-1])
        weights[f"gain{number}"] = jnp.ones(shape[-1])
    return weights


def _forward(weights: Tree, rows: Any, key: Any = None, norms: Any = None) -> tuple[Any, list[Any]]:
    """(scores, what each normalisation measured); with a `key` some of what passes is dropped, with `norms`
    those are used instead of the batch's own."""
    keys = iter(jax.random.split(key, len(CHANNELS) + len(DENSE))) if key is not None else None
    used: list[Any] = []

    def dropped(flow: Any, share: float) -> Any:
        if keys is None:
            return flow
        return flow * jax.random.bernoulli(next(keys), 1 - share, flow.shape) / (1 - share)

    def normalised(flow: Any, number: int) -> Any:
        axes = tuple(range(flow.ndim - 1))
        mean, variance = (flow.mean(axes), flow.var(axes)) if norms is None else norms[len(used)]
        used.append((mean, variance))
        flow = (flow - mean) * jax.lax.rsqrt(variance + _EPSILON)
        return flow * weights[f"gain{number}"] + weights[f"shift{number}"]

    flow = jnp.asarray(rows)
    for block in range(len(CHANNELS)):
        active = jax.nn.elu if block == 0 else jax.nn.relu
        for number in (2 * block, 2 * block + 1):
            flow = jax.lax.conv_general_dilated(
                flow, weights[f"weight{number}"], (1,), "SAME", dimension_numbers=_LAYOUT
            )
            flow = active(normalised(flow, number))
        flow = jax.lax.reduce_window(
            flow, -jnp.inf, jax.lax.max, (1, POOL, 1), (1, STRIDE, 1), "SAME"
        )
        flow = dropped(flow, DROPOUT)
    flow = flow.reshape(len(flow), -1)
    number = 2 * len(CHANNELS)
    for _, share in DENSE:
        flow = dropped(jax.nn.relu(normalised(flow @ weights[f"weight{number}"], number)), share)
        number += 1
    return flow @ weights[f"weight{number}"] + weights[f"shift{number}"], used


@jax.jit
def _scores(weights: Tree, rows: Any, norms: Any) -> Any:
    return _forward(weights, rows, norms=norms)[0]


@jax.jit
def _measure(weights: Tree, rows: Any) -> Any:
    return _forward(weights, rows)[1]


def _loss(weights: Tree, rows: Any, labels: Any, key: Any) -> Any:
    scores = jax.nn.log_softmax(_forward(weights, rows, key)[0])
    return -jnp.take_along_axis(scores, labels[:, None], axis=1).mean()


def _zeros(weights: Tree) -> Tree:
    return jax.tree_util.tree_map(jnp.zeros_like, weights)


@partial(jax.jit, donate_argnums=0)
def _step(state: Tree, rows: Any, labels: Any, key: Any) -> Tree:
    """One step of Adamax (Kingma and Ba 2015, section 7.1)."""
    weights, first, most, count = state
    count += 1
    slopes = jax.grad(_loss)(weights, rows, labels, key)
    each = jax.tree_util.tree_map
    first = each(lambda m, g: 0.9 * m + 0.1 * g, first, slopes)
    most = each(lambda u, g: jnp.maximum(0.999 * u, jnp.abs(g)), most, slopes)
    rate = RATE / (1 - 0.9**count)
    weights = each(lambda w, m, u: w - rate * m / (u + 1e-8), weights, first, most)
    return weights, first, most, count
