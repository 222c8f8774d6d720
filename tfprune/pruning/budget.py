"""Budgets: the largest model that a number of bytes, or of multiply-accumulates, allows.

NumPy only. A budget stands in the place of a sparsity, under any allocation that takes one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

from tfprune.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Budget:
    """What the model may cost.

    Attributes:
        what: "target_bytes" or "target_macs".
        limit: how many of them.
        beside: what the model costs outside the group, which nothing here changes.
        layers: layer name -> cost of the layer as a function of its kept weights.
    """

    what: str
    limit: int
    beside: int
    layers: Mapping[str, Callable[[int], int]]

    def cost(self, kept: Mapping[str, int]) -> int:
        """What the model costs that keeps so many weights of each layer of the group."""
        return self.beside + sum(cost(kept[name]) for name, cost in self.layers.items())


def layer_bytes(size: int, kept: int) -> int:
    """Bytes of a layer of N weights that keeps k, as a sparse code without entropy coding.

    k float32 values and their positions at what a uniformly scattered mask is worth:
    ceil((32 k + N H(k / N)) / 8), H(p) = -p log2 p - (1 - p) log2(1 - p); and never more than
    the 4 N of the dense layer. At 10% density positions are 4.69 bits a kept weight.

    Args:
        size: N >= 1.
        kept: k in [0, N].
    """
    if kept in (0, size):
        return 4 * kept
    p = kept / size
    positions = -size * (p * math.log2(p) + (1 - p) * math.log2(1 - p))
    return min(4 * size, math.ceil((32 * kept + positions) / 8))


def check_reachable(smallest: int, budget: Budget) -> None:
    """Refuses a budget that the smallest model that the group can reach does not meet."""
    if smallest > budget.limit:
        raise UsageError(
            f"{budget.what} cannot be met: the smallest model that this group can reach has "
            f"{smallest}, of which {budget.beside} lie outside the group. "
            f"Received: {budget.limit}"
        )


def least_removed(cost: Callable[[int], int], least: int, most: int, budget: Budget) -> int:
    """The smallest number removed whose model meets the budget, by bisection on counts.

    Meets it: cost(n) <= limit, and n = least or cost(n - 1) > limit. That is the smallest of
    all where the cost falls with n; it does but for the rounding of `uniform` and `erk`, which
    may move single weights between layers.

    Args:
        cost: number of units removed from the group -> cost of the model.
        least: what is removed before anything is decided.
        most: what can be removed at most.
        budget: the limit.

    Raises:
        UsageError: even the smallest model is too large.
    """
    check_reachable(cost(most), budget)
    if cost(least) <= budget.limit:
        return least
    low, high = least, most  # cost(low) > limit >= cost(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if cost(middle) <= budget.limit else (middle, high)
    return high
