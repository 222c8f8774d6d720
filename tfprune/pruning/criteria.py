"""Criteria: what scores a weight. The lowest scores are removed first. NumPy only.

A criterion is a function `(weights, rng) -> scores`, or, where it needs gradients,
`(weights, gradient, rng) -> scores`. To add one, write it, decorate it with
`@criterion("its_name")`, and it can be named in `prune(..., criterion="its_name")`. The
gradients are computed elsewhere (`gradients`, `flow`) and handed in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from tfprune.errors import TfpruneError, UsageError

#: What a gradient can be of: the training loss on data, or the flow of SynFlow.
GRADIENTS = ("loss", "flow")
# What the value of a kept weight takes in a file of shared weights, about.
_VALUE_BITS = 4


@dataclasses.dataclass(frozen=True)
class Criterion:
    """A criterion and what it needs.

    Attributes:
        function: gives the scores.
        gradient: None, or one of `GRADIENTS`.
        rounds: how often, by default, it scores anew what is left on the way to the target.
    """

    function: Callable[..., np.ndarray]
    gradient: str | None = None
    rounds: int = 1


#: Name -> criterion.
CRITERIA: dict[str, Criterion] = {}


def criterion(
    name: str, *, gradient: str | None = None, rounds: int = 1
) -> Callable[[Callable[..., np.ndarray]], Callable[..., np.ndarray]]:
    """Registers the decorated function under `name`.

    Args:
        name: what users call it.
        gradient: None; "loss" for the gradient of the training loss on data that the user
            gives, summed over the data's mean; "flow" for that of SynFlow, without data.
        rounds: default of `prune(..., criterion_rounds=)`.
    """
    if gradient not in (None, *GRADIENTS):
        raise UsageError(
            f"gradient must be None or one of {', '.join(GRADIENTS)}. Received: {gradient!r}"
        )

    def register(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        CRITERIA[name] = Criterion(function, gradient, rounds)
        return function

    return register


@criterion("magnitude")
def magnitude(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """|w|, as in Han et al. 2015, *Learning both Weights and Connections*."""
    return np.abs(weights, dtype=np.float32)


@criterion("rate")
def rate(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """|w| / sqrt(bits): magnitude for the price of the weight in a coded file.

    Keeping what has the most w^2 a bit is what rounding by rate and distortion does: under a
    price l a weight goes when w^2 < l bits. The bits are those of `significance` for the
    weight's place, of a matrix with a column for each filter or neuron, and 4 for its value:

        bits = max(1, 4 - log2(o)),    o = o(f_r) o(f_c) / o(f),    o(f) = f / (1 - f),

    f_r, f_c and f the kept fraction of its row, its column and the whole, half a weight
    added to what is kept and to what is removed. So weights in rows and columns that have lost
    many go first: where nothing was removed before, it is `magnitude`.
    """
    magnitudes = np.abs(weights, dtype=np.float32)
    matrix = magnitudes.reshape(-1, weights.shape[-1] if weights.ndim else 1)
    kept = matrix > 0
    if kept.all() or not kept.size:
        return magnitudes
    rows, columns = kept.sum(1, keepdims=True), kept.sum(0, keepdims=True)

    def log_odds(count: np.ndarray, size: int) -> np.ndarray:
        return np.log2((count + 0.5) / (size - count + 0.5))

    odds = log_odds(rows, kept.shape[1]) + log_odds(columns, kept.shape[0])
    odds -= log_odds(kept.sum(), kept.size)
    bits = np.maximum(1, _VALUE_BITS - odds)
    return (matrix / np.sqrt(bits)).astype(np.float32).reshape(weights.shape)


@criterion("random")
def random(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform in [0, 1): the control that any criterion worth its name has to beat."""
    return rng.random(weights.shape, dtype=np.float32)


@criterion("snip", gradient="loss")
def snip(weights: np.ndarray, gradient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """|g w|, the loss's first-order change where the weight goes: Lee et al. 2019, *SNIP*."""
    return np.abs(gradient * weights)


@criterion("synflow", gradient="flow", rounds=100)
def synflow(weights: np.ndarray, gradient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """|w| dR/d|w|, the flow through the weight: Tanaka et al. 2020, *SynFlow*.

    R is the sum of the outputs of the network of all |w|, without biases, for an input of
    ones; the gradient is given as a fraction of R. 100 rounds as in the paper: with a
    single one whole layers fall to their last weight at high sparsity.
    """
    return gradient * np.abs(weights)


def known_criterion(name: str) -> Criterion:
    """The criterion of that name.

    Raises:
        UsageError: no such criterion.
    """
    if name not in CRITERIA:
        raise UsageError(f"criterion must be one of {', '.join(CRITERIA)}. Received: {name!r}")
    return CRITERIA[name]


def score(
    name: str,
    weights: np.ndarray,
    rng: np.random.Generator,
    gradient: np.ndarray | None = None,
) -> np.ndarray:
    """Scores one array of weights.

    Args:
        name: a key of `CRITERIA`.
        weights: any shape, any float type.
        rng: the source of randomness, for criteria that need one.
        gradient: of the same shape, for criteria that need it.

    Returns:
        float32 scores of the same shape; the lowest go first.

    Raises:
        UsageError: no such criterion, or no gradient for one that needs it.
        TfpruneError: scores of another shape.
    """
    wanted = known_criterion(name)
    weights = np.asarray(weights, dtype=np.float32)
    if wanted.gradient is None:
        scores = wanted.function(weights, rng)
    elif gradient is None:
        raise UsageError(f"criterion {name!r} needs the gradient of the {wanted.gradient}")
    else:
        scores = wanted.function(weights, np.asarray(gradient, dtype=np.float32), rng)
    if np.shape(scores) != weights.shape:
        raise TfpruneError(
            f"criterion {name!r} must give scores of the shape of its weights, {weights.shape}. "
            f"Received: {np.shape(scores)}"
        )
    return np.asarray(scores, dtype=np.float32)
