"""Criteria: what scores a weight. The lowest scores are removed first.

A criterion is a function `(weights, rng) -> scores`. To add one, write it, decorate it with
`@criterion("its_name")`, and it can be named in `prune(..., criterion="its_name")`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfprune.errors import UsageError

Criterion = Callable[[np.ndarray, np.random.Generator], np.ndarray]

#: Name -> criterion.
CRITERIA: dict[str, Criterion] = {}


def criterion(name: str) -> Callable[[Criterion], Criterion]:
    """Registers the decorated function under `name`."""

    def register(function: Criterion) -> Criterion:
        CRITERIA[name] = function
        return function

    return register


@criterion("magnitude")
def magnitude(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """|w|, as in Han et al. 2015, *Learning both Weights and Connections*."""
    return np.abs(weights, dtype=np.float32)


@criterion("random")
def random(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform in [0, 1): the control that any criterion worth its name has to beat."""
    return rng.random(weights.shape, dtype=np.float32)


def score(name: str, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scores one array of weights.

    Args:
        name: a key of `CRITERIA`.
        weights: any shape, any float type.
        rng: the source of randomness, for criteria that need one.

    Returns:
        float32 scores of the same shape; the lowest go first.

    Raises:
        UsageError: no such criterion.
    """
    if name not in CRITERIA:
        raise UsageError(f"criterion must be one of {', '.join(CRITERIA)}. Received: {name!r}")
    return CRITERIA[name](np.asarray(weights, dtype=np.float32), rng)
