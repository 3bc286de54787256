"""A small Deep Fingerprinting: convolutions over a trace's cells and times, in JAX, on the processor.

The shape is DF's (Sirinam and others, CCS 2018: blocks of convolution, normalisation, pooling, then dense
layers) at a fraction of its size, with the time beside the direction as in Tik-Tok (Rahman and others, PoPETs
2020), and the trace's totals before the last layer. DF itself is in original.py: it takes many times as long,
and sees 5,000 cells of a trace where this sees 16,500.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Tree = Any

CHANNELS = (16, 32, 64, 64)
KERNEL = 8
POOL = 4
HIDDEN = 128
EPOCHS = 40
BATCH = 32
RATE = 2e-3
DROPOUT = 0.3
_EPSILON = 1e-5
_SEED = 1


class Net:
    """Fit, then predict; everything about it was fixed before any trace was seen."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._weights: Tree = None
        self._scale: tuple[Floats, Floats] | None = None

    def fit(self, slots: Floats, totals: Floats, labels: NDArray[np.intp]) -> None:
        self._scale = (totals.mean(axis=0), totals.std(axis=0) + _EPSILON)
        totals = self._scaled(totals)
        key = jax.random.PRNGKey(_SEED)
        weights = _initial(key, slots.shape, totals.shape[1], self._classes)
        state = (weights, _zeros(weights), _zeros(weights), 0)
        order = np.random.default_rng(_SEED)
        batches = -(-len(labels) // BATCH)
        for _ in range(EPOCHS):
            # Every batch has the same size, so that there is one program to compile.
            shuffled = np.resize(order.permutation(len(labels)), batches * BATCH)
            for picked in shuffled.reshape(batches, BATCH):
                key, dropout = jax.random.split(key)
                state = _step(state, slots[picked], totals[picked], labels[picked], dropout)
        self._weights = state[0]

    def predict(self, slots: Floats, totals: Floats) -> NDArray[np.intp]:
        scores = _forward(self._weights, slots, self._scaled(totals), None)
        return np.asarray(scores.argmax(axis=1))

    def _scaled(self, totals: Floats) -> Floats:
        assert self._scale is not None
        mean, spread = self._scale
        return ((totals - mean) / spread).astype(np.float32)


def _initial(key: Any, shape: tuple[int, ...], totals: int, classes: int) -> Tree:
    """He's initial weights."""
    weights: dict[str, Any] = {}
    coming, length = shape[1], shape[2]
    for number, channels in enumerate(CHANNELS):
        key, use = jax.random.split(key)
        spread = (2 / (coming * KERNEL)) ** 0.5
        weights[f"filter{number}"] = jax.random.normal(use, (channels, coming, KERNEL)) * spread
        weights[f"gain{number}"] = jnp.ones((1, channels, 1))
        weights[f"shift{number}"] = jnp.zeros((1, channels, 1))
        coming, length = channels, length // POOL
    flat = coming * length + totals
    for name, size, out in (("hidden", flat, HIDDEN), ("last", HIDDEN, classes)):
        key, use = jax.random.split(key)
        weights[name] = jax.random.normal(use, (size, out)) * (2 / size) ** 0.5
        weights[f"{name}_bias"] = jnp.zeros(out)
    return weights


def _forward(weights: Tree, slots: Any, totals: Any, key: Any) -> Any:
    """Scores; with a `key` some of what passes is dropped, as in training."""
    flow = jnp.asarray(slots)
    for number in range(len(CHANNELS)):
        flow = jax.lax.conv_general_dilated(flow, weights[f"filter{number}"], (1,), "SAME")
        # Each trace by itself: no trace's answer depends on which others are beside it.
        mean = flow.mean(axis=(1, 2), keepdims=True)
        spread = jnp.sqrt(flow.var(axis=(1, 2), keepdims=True) + _EPSILON)
        flow = (flow - mean) / spread * weights[f"gain{number}"] + weights[f"shift{number}"]
        flow = jax.nn.elu(flow)
        kept = flow.shape[2] // POOL * POOL
        flow = flow[:, :, :kept].reshape(*flow.shape[:2], -1, POOL).max(axis=3)
    flow = jnp.concatenate([flow.reshape(len(flow), -1), totals], axis=1)
    if key is not None:
        flow = flow * jax.random.bernoulli(key, 1 - DROPOUT, flow.shape) / (1 - DROPOUT)
    flow = jax.nn.relu(flow @ weights["hidden"] + weights["hidden_bias"])
    return flow @ weights["last"] + weights["last_bias"]


def _loss(weights: Tree, slots: Any, totals: Any, labels: Any, key: Any) -> Any:
    scores = jax.nn.log_softmax(_forward(weights, slots, totals, key))
    return -jnp.take_along_axis(scores, labels[:, None], axis=1).mean()


def _zeros(weights: Tree) -> Tree:
    return jax.tree_util.tree_map(jnp.zeros_like, weights)


@partial(jax.jit, donate_argnums=0)
def _step(state: Tree, slots: Any, totals: Any, labels: Any, key: Any) -> Tree:
    """One step of Adam (Kingma and Ba 2015)."""
    weights, first, second, count = state
    count += 1
    slopes = jax.grad(_loss)(weights, slots, totals, labels, key)
    each = jax.tree_util.tree_map
    first = each(lambda m, g: 0.9 * m + 0.1 * g, first, slopes)
    second = each(lambda v, g: 0.999 * v + 0.001 * g * g, second, slopes)

    def moved(weight: Any, m: Any, v: Any) -> Any:
        mean, spread = m / (1 - 0.9**count), v / (1 - 0.999**count)
        return weight - RATE * mean / (jnp.sqrt(spread) + 1e-8)

    return each(moved, weights, first, second), first, second, count
