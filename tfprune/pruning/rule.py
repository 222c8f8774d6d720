"""What an allocation is: a target in, a number of weights removed per layer out.

NumPy only. An allocation is a function `(scores, weights, target) -> Allocation`; add one by
decorating it with `@allocation("its_name")`. `allocation` names all there are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfprune.errors import UsageError
from tfprune.pruning.masks import removed_count

#: Layer name -> array, in model order.
Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Target:
    """What the user asks for; each allocation takes the fields it knows and refuses the rest.

    Attributes:
        sparsity: fraction of the group's weights to remove, in [0, 1).
        layer_sparsity: layer name, or pattern -> fraction of the layer's weights to remove, in
            [0, 1).
        quality: Han's quality parameter: threshold in standard deviations, >= 0.
    """

    sparsity: float | None = None
    layer_sparsity: Mapping[str, float] | None = None
    quality: float | None = None

    def part(self, fraction: float) -> Target:
        """The target part of the way there, geometric in density: 1 - (1 - s) ** fraction."""
        if fraction >= 1:
            return self
        layers = self.layer_sparsity
        return Target(
            None if self.sparsity is None else 1 - (1 - self.sparsity) ** fraction,
            None if layers is None else {k: 1 - (1 - s) ** fraction for k, s in layers.items()},
            None if self.quality is None else self.quality * fraction,
        )


@dataclasses.dataclass(frozen=True)
class Allocation:
    """Weights removed per layer.

    Attributes:
        removed: layer name -> number of weights removed, in model order.
        thresholds: layer name -> the score at which the layer is cut: weights below it go,
            weights above it stay, at it the lowest index goes first; -inf where none goes.
        protected: layers that would have lost their last weight and kept it.
    """

    removed: dict[str, int]
    thresholds: dict[str, float]
    protected: tuple[str, ...] = ()


Rule = Callable[[Arrays, Arrays, Target], Allocation]

#: Name -> allocation.
ALLOCATIONS: dict[str, Rule] = {}


def allocation(name: str) -> Callable[[Rule], Rule]:
    """Registers the decorated function under `name`."""

    def register(function: Rule) -> Rule:
        ALLOCATIONS[name] = function
        return function

    return register


def require(name: str, target: Target, field: str, alternative: str = "") -> None:
    """Refuses a target that lacks `field`, or has any other."""
    given = [f.name for f in dataclasses.fields(target) if getattr(target, f.name) is not None]
    if given != [field]:
        either = f"{field} or {alternative}" if alternative else field
        raise UsageError(
            f"allocation {name!r} takes {either}, and nothing else. "
            f"Received: {', '.join(given) or 'none'}"
        )


def group_count(scores: Arrays, target: Target) -> int:
    """N and s -> n, where each layer can keep a weight."""
    total = sum(array.size for array in scores.values())
    count = removed_count(total, target.sparsity)  # type: ignore[arg-type]
    if count > total - len(scores):
        raise UsageError(
            f"a group of {total} weights (units) in {len(scores)} layers can lose at most "
            f"{total - len(scores)}: each layer keeps its last one. "
            f"Received: sparsity {target.sparsity!r}, which removes {count}"
        )
    return count


def cut_each(scores: Arrays, removed: Sequence[int], protected: Sequence[bool]) -> Allocation:
    """The allocation whose layers are cut each by itself."""
    thresholds = {
        name: float(np.partition(array, n - 1, axis=None)[n - 1]) if n else -math.inf
        for (name, array), n in zip(scores.items(), removed, strict=True)
    }
    kept_last = tuple(name for name, last in zip(scores, protected, strict=True) if last)
    return Allocation(dict(zip(scores, removed, strict=True)), thresholds, kept_last)
