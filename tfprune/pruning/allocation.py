"""Allocation: how the target of a group becomes a number of weights removed per layer.

NumPy only. What there is, by family: one threshold over the group (`threshold`: global,
stddev, lamp), a sparsity for each layer (`density`: uniform, erk, explicit). All of them
keep two promises: a group of N weights at sparsity s loses exactly n = floor(s N + 0.5), and
no layer loses its last weight.

They see scores as arrays, and so hold for any unit that is scored: where filters or blocks
are pruned, a layer's array has one score a unit, N counts units, and the last unit stays.
"""

from __future__ import annotations

from tfprune.errors import UsageError
from tfprune.pruning import density, threshold  # noqa: F401 (each registers its own)
from tfprune.pruning.masks import refuse_nan
from tfprune.pruning.rule import ALLOCATIONS, Allocation, Arrays, Rule, Target, allocation

__all__ = ["ALLOCATIONS", "Allocation", "Arrays", "Rule", "Target", "allocate", "allocation"]


def allocate(name: str, scores: Arrays, weights: Arrays, target: Target) -> Allocation:
    """Decides how many weights each layer of a group loses.

    Args:
        name: a key of `ALLOCATIONS`.
        scores: layer name -> scores, in model order; the lowest go first. -inf marks weights
            that are removed already.
        weights: layer name -> weights (`stddev` needs them, and `erk` their shapes).
        target: what is asked for.

    Raises:
        UsageError: unknown allocation, a target that it cannot use or that cannot be reached.
        TfpruneError: a score is NaN.
    """
    if name not in ALLOCATIONS:
        raise UsageError(f"allocation must be one of {', '.join(ALLOCATIONS)}. Received: {name!r}")
    for layer, array in scores.items():
        refuse_nan(array, f"layer {layer!r}")
    return ALLOCATIONS[name](scores, weights, target)
