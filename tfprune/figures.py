"""What the layers of a model, wrapped or plain, say in figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tfprune.pruning.macs import macs
from tfprune.pruning.prunable import LayerInfo, describe


def sparsity_of(layers: Sequence[LayerInfo]) -> float:
    """Fraction of the layers' weights that were removed, together; 0 for no layers."""
    size = sum(layer.size for layer in layers)
    return 1 - sum(layer.kept for layer in layers) / size if size else 0.0


def layer_figures(model: Any) -> dict[str, Any]:
    """The keys of `summary.json` that the layers decide.

    `group_sparsity` is over the pruned layers, `model_sparsity` over all kernels;
    multiply-accumulates are of one image, `macs_pruned` those of kept weights.
    """
    layers = describe(model)
    work = macs(model)
    return {
        "layers": [dataclasses.asdict(layer) | {"shape": list(layer.shape)} for layer in layers],
        "group_sparsity": sparsity_of([layer for layer in layers if layer.pruned]),
        "model_sparsity": sparsity_of(layers),
        "macs_dense": sum(dense for dense, _ in work.values()),
        "macs_pruned": sum(kept for _, kept in work.values()),
    }
