"""A layer in the choice of masks: units in, a mask out."""

from __future__ import annotations

import numpy as np

from tfprune.backend import tf
from tfprune.errors import UsageError
from tfprune.pruning.criteria import score
from tfprune.pruning.granularity import Granularity, Units, input_axis, keep_n_of_m
from tfprune.pruning.masks import keep_largest, refuse_nan
from tfprune.pruning.prunable import Prunable
from tfprune.pruning.units import unit_axes


class ScoredLayer:
    """One layer of the group: its weights, what is left of them, and its units' scores.

    Attributes:
        name: of the layer, as allocations and messages call it.
        key: of its mask.
        weights: of its kernel, not copied, to be read only.
        mask: True where a weight is left; None where all are.
        scores: of its units, -inf where nothing is left of one; empty before `score`.
    """

    def __init__(self, prunable: Prunable, granularity: Granularity) -> None:
        self.name, self.key = prunable.name, prunable.key
        # No copy, as `.numpy()` would make one: it is only read.
        self.weights = np.asarray(tf.convert_to_tensor(prunable.variable))
        self.mask: np.ndarray | None = None  # all weights are there
        self._granularity = granularity
        self._axes = unit_axes(prunable.layer, prunable.kernel)
        self._units: Units | None = None
        kinds = ("depthwise", "embedding")
        if granularity.kind == "n:m" and (prunable.kernel.kind in kinds or self.weights.ndim < 2):
            raise UsageError(
                "granularity N:M runs along the inputs of a kernel, which embeddings and depthwise "
                f"convolutions do not have. Received: layer {self.name!r}"
            )
        if granularity.kind in ("filter", "block"):
            self._units = Units(granularity, self.weights.shape, self._axes, self.name)
        if prunable.mask is not None:
            mask = tf.convert_to_tensor(prunable.mask).numpy()
            self.mask = None if mask.all() else mask
        self.scores = np.empty(0, np.float32)

    @property
    def size(self) -> int:
        """How many units there are."""
        return self.weights.size if self._units is None else self._units.size

    @property
    def lost(self) -> int:
        """How many units have no weight left."""
        if self.mask is None:
            return 0
        if self._units is None:
            return int(self.mask.size - np.count_nonzero(self.mask))
        return int(np.count_nonzero(self._units.weights_in(self.mask) == 0))

    @property
    def least(self) -> int:
        """No pruning leaves fewer weights than this: those of a last unit."""
        return 1 if self._units is None else int(self._units.weights_in(self.mask).min())

    @property
    def things(self) -> str:
        """What is counted, for messages."""
        return {"filter": "filters", "block": "blocks"}.get(self._granularity.kind, "weights")

    def score(self, criterion: str, rng: np.random.Generator, gradient: np.ndarray | None) -> None:
        """Scores what is left."""
        self._take(score(criterion, self.weights, rng, gradient))

    def score_alike(self) -> None:
        """Gives all that is left the same score."""
        self._take(np.zeros(self.weights.shape, np.float32))

    def _take(self, scores: np.ndarray) -> None:
        """Makes the scores of weights those of units; what is gone scores -inf."""
        if self._units is not None:
            self.scores = self._units.scores(scores, self.mask)
        else:
            self.scores = scores if self.mask is None else np.where(self.mask, scores, -np.inf)

    def kept(self, removed: int) -> int:
        """How many weights are left without the `removed` lowest units."""
        if self._units is None:
            return self.scores.size - removed
        return int(self._units.weights_in(self.mask)[keep_largest(self.scores, removed)].sum())

    def cut(self, removed: int, threshold: float) -> None:
        """Removes the lowest units, the last of which most likely scores the threshold."""
        if removed == self.lost:
            return
        mask = keep_largest(self.scores, removed, threshold)
        if self._units is not None:
            mask = self._units.spread(mask)
            mask = mask if self.mask is None else mask & self.mask
        self.mask = mask

    def n_of_m(self) -> np.ndarray:
        """The mask of granularity N:M."""
        refuse_nan(self.scores, f"layer {self.name!r}")
        n, m = self._granularity.sizes
        return keep_n_of_m(self.scores, n, m, input_axis(self.weights.shape, self._axes))

    def whole_mask(self) -> np.ndarray:
        """The mask, all True where nothing went."""
        return np.ones(self.weights.shape, bool) if self.mask is None else self.mask
