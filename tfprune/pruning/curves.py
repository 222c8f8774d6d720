"""Sensitivity curves: what pruning each layer alone costs, and what they propose. NumPy only.

The rule. A layer's loss is the dense accuracy minus that of the network with this layer alone
pruned. It starts at zero with nothing removed, may not fall as more is removed (the running
maximum: what looks like a gain is noise) and is read off the lower convex hull of these points,
linearly between them. Losses of layers are predicted to add. Then the cheapest weight to remove
next is always the one whose layer has the smallest slope, and taking the cheapest until the
budget, or the target, is used up is the exact optimum of the prediction. Of equal slopes the
lower sparsity goes first, then the earlier layer. So a larger target never prunes a layer less.

What the prediction leaves out: layers pruned together can lose more, or less, than the sum, and
retraining wins most of it back. It orders layers; it does not foretell the final accuracy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfprune.errors import UsageError
from tfprune.pruning.masks import removed_count

#: Sparsities at which each layer is measured unless the user says otherwise.
LADDER = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)

#: Accuracies are ratios of whole numbers: 0.99 - 0.98 is 0.01 but for rounding.
_ROUNDING = 1e-9
#: How near to the most weights that a measured budget allows, as a fraction of all.
_RESOLUTION = 0.005


def check_ladder(sparsities: Sequence[float]) -> tuple[float, ...]:
    """The sparsities as a tuple of floats.

    Raises:
        UsageError: not ascending, empty, or outside (0, 1).
    """
    try:
        ladder = tuple(float(sparsity) for sparsity in sparsities)
        usable = bool(ladder) and list(ladder) == sorted(set(ladder))
    except (TypeError, ValueError):
        usable = False
    if not usable or not 0 < ladder[0] <= ladder[-1] < 1:
        raise UsageError(
            "the sparsities of a sensitivity scan must ascend and lie in (0, 1). "
            f"Received: {sparsities!r}"
        )
    return ladder


def ladder_count(size: int, sparsity: float) -> int:
    """Weights that a layer of `size` loses at a point of the scan; it keeps its last one."""
    return min(removed_count(size, sparsity), size - 1)


@dataclasses.dataclass(frozen=True)
class Proposal:
    """An allocation that sensitivity curves propose.

    Attributes:
        removed: layer name -> number of weights to remove.
        sizes: layer name -> number of its weights.
        predicted_loss: accuracy that this is predicted to cost, before any retraining.
    """

    removed: Mapping[str, int]
    sizes: Mapping[str, int]
    predicted_loss: float

    @property
    def layer_sparsity(self) -> dict[str, float]:
        """Layer name -> sparsity: `prune(model, layer_sparsity=...)` removes exactly `removed`."""
        return {name: count / self.sizes[name] for name, count in self.removed.items()}

    @property
    def sparsity(self) -> float:
        """Fraction of all these layers' weights that goes."""
        return sum(self.removed.values()) / sum(self.sizes.values())


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """What pruning each layer of a group alone costs, the others dense.

    Attributes:
        dense_accuracy: accuracy with nothing removed.
        sizes: layer name -> number of its weights, in model order.
        curves: layer name -> ((sparsity, accuracy), ...), sparsity ascending.
    """

    dense_accuracy: float
    sizes: Mapping[str, int]
    curves: Mapping[str, tuple[tuple[float, float], ...]]

    def propose(
        self,
        *,
        accuracy_budget: float | None = None,
        sparsity: float | None = None,
        measure: Callable[[Proposal], float] | None = None,
    ) -> Proposal:
        """The allocation that these curves propose; see the module for the rule.

        Args:
            accuracy_budget: remove as many weights as the predicted loss of accuracy allows,
                in the unit of the accuracies, >= 0; or
            sparsity: remove exactly n = floor(s N + 0.5) of the group's N weights, in [0, 1),
                at the smallest predicted loss.
            measure: for a budget (a sparsity needs none): takes a proposal, gives the accuracy
                of the model pruned so and not retrained. The budget then holds for the loss
                measured, of all layers together, and the most weights are looked for, to half
                a percent of them: some nine calls.

        Raises:
            UsageError: both or none of the two, one out of range, or a sparsity that would
                take layers beyond the highest sparsity they were measured at.
        """
        if (accuracy_budget is None) == (sparsity is None):
            raise UsageError(
                "propose takes accuracy_budget or sparsity, one of them. "
                f"Received: accuracy_budget={accuracy_budget!r}, sparsity={sparsity!r}"
            )
        if sparsity is not None:
            removed = self._cheapest(self._count(sparsity))
        elif accuracy_budget is not None and 0 <= accuracy_budget < math.inf:
            removed = self._affordable(accuracy_budget)
            if measure is not None:
                removed = self._measured(accuracy_budget, removed, measure)
        else:
            raise UsageError(
                f"accuracy_budget must be a finite number >= 0. Received: {accuracy_budget!r}"
            )
        return self._proposal(removed)

    def _proposal(self, removed: Mapping[str, int]) -> Proposal:
        return Proposal(removed, dict(self.sizes), self.predicted_loss(removed))

    def predicted_loss(self, removed: Mapping[str, int]) -> float:
        """Accuracy that any allocation is predicted to cost before retraining.

        Args:
            removed: layer name -> number of weights removed.

        Raises:
            UsageError: a layer without a curve, or a count beyond its highest point.
        """
        loss = 0.0
        for name, count in removed.items():
            if name not in self.curves:
                raise UsageError(
                    f"layer {name!r} was not measured; measured: {', '.join(self.curves)}"
                )
            counts, losses = self._hull(name)
            if not 0 <= count <= counts[-1]:
                raise UsageError(
                    f"layer {name!r} was measured up to {counts[-1]:.0f} of its "
                    f"{self.sizes[name]} weights removed. Received: {count}"
                )
            loss += float(np.interp(count, counts, losses))
        return loss

    def _count(self, sparsity: float) -> int:
        count = removed_count(sum(self.sizes.values()), sparsity)
        most = sum(int(self._hull(name)[0][-1]) for name in self.curves)
        if count > most:
            raise UsageError(
                f"the scan ends where {most} of {sum(self.sizes.values())} weights are gone, and "
                f"is not extrapolated. Received: sparsity {sparsity!r}, which removes {count}; "
                "scan at higher sparsities"
            )
        return count

    def _cheapest(self, count: int) -> dict[str, int]:
        removed = dict.fromkeys(self.curves, 0)
        for name, length, _ in self._segments():
            taken = min(length, count)
            removed[name] += taken
            count -= taken
        return removed

    def _affordable(self, budget: float) -> dict[str, int]:
        removed = dict.fromkeys(self.curves, 0)
        left = budget + _ROUNDING
        for name, length, slope in self._segments():
            taken = length if slope * length <= left else int(left / slope)
            removed[name] += taken
            left -= slope * taken
            if taken < length:  # the next ones cost as much a weight, or more
                break
        return removed

    def _measured(
        self, budget: float, first: Mapping[str, int], measure: Callable[[Proposal], float]
    ) -> dict[str, int]:
        """The most weights, cheapest first, at which the loss measured is within the budget.

        A bisection that begins at the prediction: its result was measured, or is nothing.
        """
        fits, exceeds = 0, 1 + sum(int(self._hull(name)[0][-1]) for name in self.curves)
        count = sum(first.values())
        while exceeds - fits > max(1, _RESOLUTION * sum(self.sizes.values())):
            loss = self.dense_accuracy - measure(self._proposal(self._cheapest(count)))
            if loss <= budget + _ROUNDING:
                fits = count
            else:
                exceeds = count
            count = (fits + exceeds) // 2
        return self._cheapest(fits)

    def _segments(self) -> list[tuple[str, int, float]]:
        """(layer, weights, loss a weight) between points of the hulls, cheapest first."""
        keyed = []
        for order, name in enumerate(self.curves):
            counts, losses = self._hull(name)
            # A hull's slopes ascend; made so against rounding, or a layer's points change places.
            slopes = np.maximum.accumulate(np.diff(losses) / np.diff(counts))
            for length, slope, end in zip(np.diff(counts), slopes, counts[1:], strict=True):
                level = float(end) / self.sizes[name]
                keyed.append((float(slope), level, order, name, int(length)))
        return [(name, length, slope) for slope, _, _, name, length in sorted(keyed)]

    def _hull(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Weights removed and loss at the corners of a layer's lower convex hull.

        Points on the hull's edges stay in, so that layers of equal slope take turns.
        """
        points = [(0, 0.0)]
        for sparsity, accuracy in self.curves[name]:
            count = ladder_count(self.sizes[name], sparsity)
            loss = max(points[-1][1], self.dense_accuracy - accuracy)
            if count == points[-1][0]:  # a small layer: the same weights at both sparsities
                points[-1] = (count, loss if count else 0.0)
            else:
                points.append((count, loss))
        hull: list[tuple[int, float]] = []
        for point in points:
            while len(hull) > 1 and _slope(hull[-2], hull[-1]) > _slope(hull[-1], point):
                hull.pop()
            hull.append(point)
        counts, losses = zip(*hull, strict=True)
        return np.array(counts, np.float64), np.array(losses, np.float64)


def _slope(first: tuple[int, float], second: tuple[int, float]) -> float:
    return (second[1] - first[1]) / (second[0] - first[0])
