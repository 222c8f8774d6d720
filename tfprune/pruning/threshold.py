"""Allocations by one threshold over the whole group: global, stddev, lamp. NumPy only.

They differ in what meets the threshold: the scores themselves, or the scores after each
layer was brought to a scale of its own (`RANKINGS`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from tfprune.errors import UsageError
from tfprune.pruning.rule import (
    Allocation,
    Arrays,
    Target,
    allocation,
    cut_each,
    group_count,
    require,
)
from tfprune.pruning.selection import counts, kth_lowest


@allocation("global")
def global_threshold(scores: Arrays, weights: Arrays, target: Target) -> Allocation:
    """One threshold for the whole group: its n lowest scores go, wherever they are.

    The "equivalent rate" of the published tables. Ties: the lowest index in model order.
    """
    require("global", target, "sparsity")
    return lowest(scores, group_count(scores, target))


@allocation("stddev")
def stddev(scores: Arrays, weights: Arrays, target: Target) -> Allocation:
    """Weights that score below quality x std(weights of the layer) go.

    Given a sparsity instead of a quality, the quality is solved for: the n lowest values of
    score / std go, which is the global rule on that ratio. A layer without spread (std = 0)
    has no weight below its threshold, and goes last. Source: Han et al. 2015, section 3.
    """
    spreads = _spreads(weights)
    if target.quality is None:
        require("stddev", target, "sparsity", "quality")
        solved = lowest(_over_spread(scores, spreads), group_count(scores, target))
        thresholds = {
            name: ratio if math.isinf(ratio) else ratio * spreads[name]
            for name, ratio in solved.thresholds.items()
        }
        return dataclasses.replace(solved, thresholds=thresholds)
    require("stddev", target, "quality", "sparsity")
    if not 0 <= target.quality < math.inf:
        raise UsageError(f"quality must be a finite number >= 0. Received: {target.quality!r}")
    below = [
        int(np.count_nonzero(array < target.quality * spreads[name]))
        for name, array in scores.items()
    ]
    protected = [n == array.size for n, array in zip(below, scores.values(), strict=True)]
    removed = [n - last for n, last in zip(below, protected, strict=True)]
    return cut_each(scores, removed, protected)


@allocation("lamp")
def lamp(scores: Arrays, weights: Arrays, target: Target) -> Allocation:
    """The n lowest LAMP scores of the group go.

    A layer's weights in ascending order of score u (ties: by index) have the LAMP score
    u_i^2 / sum_{j >= i} u_j^2: what a weight adds to what is left when all below it are gone.
    A layer's last weight has 1, the most there is. u is the score of the criterion, with
    `magnitude` |w| as in the paper; it must not be negative. The layer's thresholds are in u.
    Source: Lee et al. 2021, *Layer-adaptive Sparsity for the Magnitude-based Pruning*.
    """
    require("lamp", target, "sparsity")
    count = group_count(scores, target)
    decided = lowest(_lamp_scores(scores, weights), count)
    thresholds = cut_each(scores, list(decided.removed.values()), [False] * len(scores)).thresholds
    return dataclasses.replace(decided, thresholds=thresholds)


def _spreads(weights: Arrays) -> dict[str, float]:
    return {name: float(np.std(array, dtype=np.float64)) for name, array in weights.items()}


def _over_spread(scores: Arrays, spreads: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Scores over the standard deviation of their layer's weights, float32; -inf stays."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            name: array / np.float32(spreads[name])
            if spreads[name] > 0
            else np.where(np.isneginf(array), array, np.inf).astype(np.float32)
            for name, array in scores.items()
        }


def _lamp_scores(scores: Arrays, weights: Arrays) -> dict[str, np.ndarray]:
    """The LAMP scores, float64; -inf stays."""
    return {name: _lamp_scores_of(name, array) for name, array in scores.items()}


def _lamp_scores_of(name: str, scores: np.ndarray) -> np.ndarray:
    """Those of one layer."""
    flat = scores.ravel()
    gone = np.isneginf(flat)
    if (flat[~gone] < 0).any():
        raise UsageError(
            f"allocation 'lamp' squares the scores, which must be >= 0. Received: {flat.min()!r} "
            f"in layer {name!r}"
        )
    order = np.argsort(flat, kind="stable")
    squares = np.square(np.where(gone, 0, flat), dtype=np.float64)[order]
    tails = np.cumsum(squares[::-1])[::-1]
    ratios = np.divide(squares, tails, out=np.zeros_like(squares), where=tails > 0)
    result = np.empty_like(ratios)
    result[order] = ratios
    result[gone] = -np.inf
    return result.reshape(scores.shape)


#: Allocation -> (scores, weights) -> the scores on which it is the global threshold, given a
#: sparsity. Who asks for many sparsities of the same weights computes them once.
RANKINGS: dict[str, Callable[[Arrays, Arrays], dict[str, np.ndarray]]] = {
    "stddev": lambda scores, weights: _over_spread(scores, _spreads(weights)),
    "lamp": _lamp_scores,
}


def lowest(scores: Arrays, count: int) -> Allocation:
    """The `count` lowest scores of the group, without the last-to-go one of each layer.

    Costs a few passes over the group and no copy of it.
    """
    if count == 0:
        return cut_each(scores, [0] * len(scores), [False] * len(scores))
    lasts = {name: array.max() for name, array in scores.items()}
    cut = kth_lowest(list(scores.values()), count, without=list(lasts.values()))
    removed, ties = {}, {}
    for name, array in scores.items():
        below, equal = counts(array, cut)
        removed[name] = below - int(lasts[name] < cut)
        ties[name] = equal - int(lasts[name] == cut)
    left = count - sum(removed.values())
    protected = []
    for name in scores:
        taken = min(left, ties[name])
        removed[name] += taken
        left -= taken
        last = lasts[name]
        # Its turn came: it scores below the cut, or at it while others there still had to go.
        if last < cut or (last == cut and left > 0):
            protected.append(name)
    thresholds = {name: float(cut) if n else -math.inf for name, n in removed.items()}
    return Allocation(removed, thresholds, tuple(protected))
