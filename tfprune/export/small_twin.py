"""A pruned model's small twin: the model without its dead units, to be trained in its place.

Where whole units were removed, a step of training multiplies zeros: masked filters, and all
that reads them. The small twin has none of them, so that its step costs what the small
network costs. It computes the same outputs and gradients of what is left, but for the
rounding of sums, and for the draws of dropout: those of a smaller tensor are others, of the same
distribution. Its weights go back to the places they came from. What live units read of dead
ones, on which nothing depends, stands still meanwhile: no decay, no regularizer's part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.export.cut import sliced
from tfprune.export.shrink import shrink_masks, shrink_with_report
from tfprune.export.stored import named_variables
from tfprune.export.unit_weights import array_of, layer_types
from tfprune.pruning.graph import is_graph, leaf_layers
from tfprune.pruning.pruner import get_masks

#: What makes something else than zero of a dead unit while it trains, and only then.
_NOISE = layer_types("GaussianNoise", "AlphaDropout")


@dataclass(frozen=True)
class SmallTwin:
    """The small twin of a model.

    Attributes:
        model: the small, plain model.
        parameters: number of weights of the large model and of the small one.
        pairs: (variable of the large model, variable of the small one, axis -> indices of the
            first that are in the second; the other axes are whole).
    """

    model: Any
    parameters: tuple[int, int]
    pairs: tuple[tuple[Any, Any, Mapping[int, np.ndarray]], ...]

    def give_back(self) -> None:
        """Writes the small model's weights to their places in the large one."""
        for large, small, kept in self.pairs:
            if kept:
                values = array_of(large)
                whole = (np.arange(length) for length in values.shape)
                places = [kept.get(axis, all_of_it) for axis, all_of_it in enumerate(whole)]
                values[np.ix_(*places)] = array_of(small)
            else:
                values = array_of(small)
            large.assign(values)


def small_twin(model: Any) -> SmallTwin | None:
    """The small twin of a pruned model, where it has one.

    Args:
        model: any built model. It is not changed.

    Returns:
        None where training the small model would not be the same: for a model without masks,
        one whose graph nobody knows, one from which single weights were removed, one whose
        dead units give constants that are not zero, and one with layers that add noise or drop
        to other values than zero (GaussianNoise, AlphaDropout).
    """
    masks = get_masks(model) if is_graph(model) else {}
    if not _removes_units_only(masks):
        return None
    if any(isinstance(layer, _NOISE) for _, layer in leaf_layers(model)):
        return None
    shrunk = shrink_with_report(model)
    left = shrink_masks(masks, shrunk.indices)
    if not shrunk.indices or not all(mask.all() for mask in left.values()):
        return None
    old, new = named_variables(model), named_variables(shrunk.model)
    if set(new) != set(old):
        return None  # a bias was added, which takes over a constant
    pairs = tuple((old[name], new[name], shrunk.indices.get(name, {})) for name in new)
    for large, small, kept in pairs:
        if not np.array_equal(sliced(array_of(large), kept), array_of(small)):
            return None  # a bias took one over
    layers = dict(leaf_layers(model))
    for path, layer in leaf_layers(shrunk.model):
        layer.trainable = layers[path].trainable
    return SmallTwin(shrunk.model, shrunk.parameters, pairs)


def _removes_units_only(masks: Mapping[str, np.ndarray]) -> bool:
    """Whether each mask removes whole indices of one of its last two axes, and any does so.

    Not needed, since what is left is looked at; it spares models of millions of single zeros
    the search for dead units.
    """
    return any(not mask.all() for mask in masks.values()) and all(
        any(_along(mask, axis) for axis in range(-min(mask.ndim, 2), 0)) for mask in masks.values()
    )


def _along(mask: np.ndarray, axis: int) -> bool:
    others = tuple(i for i in range(mask.ndim) if i != axis % mask.ndim)
    return bool(np.array_equal(mask.all(axis=others), mask.any(axis=others)))
