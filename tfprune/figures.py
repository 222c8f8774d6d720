"""What layers, training and rounds say in figures: keys of `summary.json`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.compression.tensor import SparseTensor
from tfprune.pruning.graph import leaf_layers, unwrapped
from tfprune.pruning.macs import macs
from tfprune.pruning.prunable import LayerInfo, Prunable, describe, prunables
from tfprune.reporting.ledger import KernelContent, LayerContent
from tfprune.reporting.summary import ROUND_KEYS


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


def layer_contents(model: Any) -> list[LayerContent]:
    """What the layers of a model hold, plain or wrapped, for the ledger; in model order.

    In a pruned model the masks tell which weights are kept, in a plain one the zeros do. A
    kernel shares values where coding it by a codebook would be smaller.
    """
    found = {id(prunable.variable): prunable for prunable in prunables(model)}
    contents = []
    for path, outer in leaf_layers(model):
        layer, kernels = unwrapped(outer), []
        beside = {"biases": 0, "batch_norm": 0, "other": 0}
        for variable in layer.weights:
            if id(variable) in found:
                kernels.append(_kernel_content(found[id(variable)]))
            elif isinstance(layer, keras.layers.BatchNormalization):
                beside["batch_norm"] += math.prod(variable.shape)
            elif "bias" in variable.name.split("/")[-1]:
                beside["biases"] += math.prod(variable.shape)
            else:
                beside["other"] += math.prod(variable.shape)
        if layer.weights:
            contents.append(LayerContent(path, tuple(kernels), **beside))
    return contents


def _kernel_content(prunable: Prunable) -> KernelContent:
    values = tf.convert_to_tensor(prunable.variable).numpy()
    mask = prunable.mask
    kept = values != 0 if mask is None else tf.convert_to_tensor(mask).numpy()
    codebook = SparseTensor.from_array(values).codebook
    return KernelContent(
        size=values.size,
        kept=int(np.count_nonzero(kept)),
        codebook=0 if codebook is None else len(codebook),
    )


def training_figures(
    history: list[dict[str, Any]],
    accuracies: dict[str, Any],
    at_target: list[dict[str, Any]],
    images: int,
) -> dict[str, Any]:
    """The keys of `summary.json` that the last stage of training decides.

    Args:
        history: all of its epochs.
        accuracies: after the last one.
        at_target: the epochs that ended at the sparsity that the accuracies are of; the best
            is one of them.
        images: training images of an epoch.
    """
    best: dict[str, Any] = {"test_accuracy": None, "epoch": None}
    if at_target and at_target[0]["test_accuracy"] is not None:
        best = max(at_target, key=lambda row: row["test_accuracy"])
    figures = {
        "history": history or None,
        "final_accuracy": accuracies["test_accuracy"],
        "validation_accuracy": accuracies.get("validation_accuracy"),
        "first_epoch_accuracy": None,
        "best_accuracy": best["test_accuracy"],
        "best_epoch": best["epoch"],
    }
    if history:
        seconds = sum(row["seconds"] for row in history)
        figures["images_per_second"] = images * len(history) / seconds
    return figures


def round_figures(
    number: int, target: float, epochs: int, summary: Mapping[str, Any]
) -> dict[str, Any]:
    """A row of the summary's `rounds`: what a round removed and what that cost.

    Args:
        number: of the round, from 1.
        target: sparsity it was to reach.
        epochs: it was retrained for.
        summary: as it stands after the round.
    """
    row = {"round": number, "target_sparsity": target, "epochs": epochs}
    return {key: row.get(key, summary.get(key)) for key in ROUND_KEYS}
