"""Contenders from TFMOT and PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarking.rounds import Turn

_SPARSITY = 0.9


def wrapped(model: Any, frequency: int = 10**9, only_dense: bool = False) -> Any:
    """A model in TFMOT's wrappers, its last layer left out; masks updated so rarely."""
    import tensorflow_model_optimization as tfmot

    from tfprune.backend import keras

    sparsity = tfmot.sparsity.keras
    schedule = sparsity.ConstantSparsity(_SPARSITY, begin_step=0, frequency=frequency)
    prunable = (keras.layers.Dense,) + (() if only_dense else (keras.layers.Conv2D,))

    def wrap(layer: Any) -> Any:
        if layer is model.layers[-1] or not isinstance(layer, prunable):
            return layer
        return sparsity.prune_low_magnitude(layer, schedule)

    clone = keras.models.clone_model(model, clone_function=wrap)
    for layer in clone.layers:
        if hasattr(layer, "pruning_step"):
            layer.pruning_step.assign(1)  # what the callback does before the first step
    return clone


def tfmot_update(turn: Turn, only_dense: bool = False, **source: Any) -> None:
    """One mask update of TFMOT over a model, masks applied.

    Args:
        turn: see `rounds`.
        only_dense: whether convolutions stay as they are.
        **source: arguments of `pruning.a_model`.
    """
    from benchmarking.pruning import a_model
    from tfprune.backend import tf

    model = wrapped(a_model(**source), frequency=1, only_dense=only_dense)
    pruning = [layer.pruning_obj for layer in model.layers if hasattr(layer, "pruning_obj")]

    @tf.function
    def update() -> None:
        for layer in pruning:
            layer.conditional_mask_update()
            layer.weight_mask_op()

    run = update.get_concrete_function()  # tracing is not its work
    while True:
        turn()
        run()


def torch_prune(turn: Turn, shapes: Sequence[Sequence[int]]) -> None:
    """`global_unstructured` of PyTorch over arrays of the given shapes, masks applied."""
    import torch
    from torch.nn.utils import prune

    rng = np.random.default_rng(0)
    weights = [torch.from_numpy(rng.standard_normal(shape, np.float32)) for shape in shapes]
    while True:
        modules = []
        for array in weights:
            module = torch.nn.Module()
            module.weight = torch.nn.Parameter(array.clone())
            modules.append(module)
        turn()
        prune.global_unstructured(
            [(module, "weight") for module in modules], prune.L1Unstructured, amount=_SPARSITY
        )
        turn.stop()


def torch_lenet5(turn: Turn, images: int, batch: int) -> None:
    """PyTorch's plain loop over an epoch of LeNet-5: shuffle, scale, step; nothing else."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (images, 1, 28, 28), np.uint8))
    labels = torch.from_numpy(rng.integers(0, 10, images))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    loss_of = nn.CrossEntropyLoss()
    while True:
        turn()
        order = torch.randperm(images)
        for start in range(0, images - batch + 1, batch):
            chosen = order[start : start + batch]
            loss = loss_of(model(pixels[chosen].float() / 255), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss.item()
