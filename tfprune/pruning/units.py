"""Units (filters, channels, neurons): which are alive, and what dies with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.pruning.constraint import apply_mask, mask_of
from tfprune.pruning.graph import followers, unwrapped
from tfprune.pruning.kernels import Kernel, kernels_of, maskable
from tfprune.pruning.masks import unit_mask


def live_units(layer: Any, kernel: Kernel, mask: np.ndarray) -> np.ndarray | None:
    """Which units of a built layer still have a weight.

    Returns:
        bool array of the shape of the bias, or flat where there is no bias; None where units
        cannot be told from the kernel.
    """
    axes = unit_axes(layer, kernel)
    if axes is None:
        return None
    alive = unit_mask(mask, axes)
    bias = getattr(layer, kernel.bias, None) if kernel.bias else None
    return alive.reshape(-1 if bias is None else tuple(bias.shape))


def unit_axes(layer: Any, kernel: Kernel) -> tuple[int, ...] | None:
    """Axes of the kernel along which a layer's units lie; None where they cannot be told."""
    if isinstance(layer, keras.layers.EinsumDense):
        return _einsum_unit_axes(layer)
    return kernel.unit_axes


def _einsum_unit_axes(layer: Any) -> tuple[int, ...] | None:
    """Axes of an EinsumDense kernel that its bias has too, in the order of the output."""
    operands, output = layer.equation.replace(" ", "").replace("...", "").split("->")
    labels = operands.split(",")[1]
    units = [axis for axis in output if axis in (layer.bias_axes or "")]
    if not units or any(axis not in labels for axis in units):
        return None
    return tuple(labels.index(axis) for axis in units)


def set_layer_masks(layer: Any, masks: Mapping[str, np.ndarray]) -> None:
    """Sets masks of a layer itself, kills the biases of dead units, and zeroes the weights.

    Args:
        layer: a built layer whose variables have masks, out of its wrapper.
        masks: attribute -> bool array, some or all.
    """
    variables = maskable(layer)
    new = {name: np.asarray(mask, dtype=bool) for name, mask in masks.items()}
    for kernel in kernels_of(layer):
        bias = kernel.bias or ""
        if kernel.attribute in new and mask_of(variables.get(bias)) is not None:
            alive = live_units(layer, kernel, new[kernel.attribute])
            if alive is not None:
                new[bias] = alive & new.get(bias, True)
    for name, mask in new.items():
        mask_of(variables[name]).assign(mask)
    for variable in variables.values():
        if mask_of(variable) is not None:
            apply_mask(variable)


def normed(model: Any) -> list[tuple[Any, Any, np.ndarray]]:
    """(batch norm, producer, live units) where the units of a layer are those of its follower."""
    found = []
    for norm, producer in followers(model):
        alive = _live_units_of(unwrapped(producer))
        if alive is not None and _scales_units(unwrapped(norm), unwrapped(producer), alive):
            found.append((norm, producer, alive))
    return found


def _scales_units(norm: Any, producer: Any, alive: np.ndarray) -> bool:
    """Whether a batch norm has one scale a unit: as many as there are, along the same axis."""
    rank = norm.input_spec.ndim
    axes = [norm.axis] if isinstance(norm.axis, int) else norm.axis  # a list in tf_keras
    first = getattr(producer, "data_format", None) == "channels_first"
    same_axis = [axis % rank for axis in axes] == [1 if first else rank - 1]
    return same_axis and alive.shape == tuple(norm.gamma.shape)


def _live_units_of(layer: Any) -> np.ndarray | None:
    """Which units of a layer have a weight; None where that is not known."""
    known = []
    for kernel in kernels_of(layer):
        variable = getattr(layer, kernel.attribute)
        mask = mask_of(variable)
        kept = np.ones(variable.shape, bool) if mask is None else tf.convert_to_tensor(mask).numpy()
        known.append(live_units(layer, kernel, kept))
    known = [alive for alive in known if alive is not None]
    return known[0] if len(known) == 1 else None
