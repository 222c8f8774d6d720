"""What a call of a layer does to units: which ones belong together, which it needs.

A unit is one index of the last axis of a tensor: a channel, or a neuron. A unit is
constant where it has one and the same value at all positions and for all inputs, as a
filter without weights has. Only layers of exactly the types below are known: a subclass
may compute anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.export.unit_weights import (
    CONVOLUTIONS,
    DEPTHWISE,
    DEPTHWISE_KERNEL,
    TRANSPOSED,
    array_of,
    constant_shift,
    layer_types,
    pads,
    sum_kernel,
    unit_axes,
)

_LAYERS = keras.layers

#: (layer, number of its call, number of the output): what a symbolic tensor is known by.
Key = tuple[int, int, int]


@dataclass(frozen=True)
class Call:
    """One call of a layer in the graph of a model.

    Attributes:
        layer: the layer, or an operation of Keras 3 such as `x + y`.
        inputs: the tensors it was given.
        outputs: the tensors it gave.
        input_shapes: their shapes, (N, ..., C); None for an open axis.
        output_shapes: the same of the outputs.
        plain: whether it was called with its inputs alone, not with `training=True` or a mask.
        shared: whether the layer is called anywhere else.
    """

    layer: Any
    inputs: tuple[Key, ...]
    outputs: tuple[Key, ...]
    input_shapes: tuple[tuple[int | None, ...], ...]
    output_shapes: tuple[tuple[int | None, ...], ...]
    plain: bool
    shared: bool


@dataclass(frozen=True)
class Effect:
    """What a call with one output does to units.

    Attributes:
        constants: (outputs,) float64, the value of each constant unit, NaN for the others.
        ties: (number of the input, units of it, units of the output) arrays of equal
            length: what stands at the same place is kept or removed together.
        needs: (inputs, outputs) bool: the weights of this output unit read this input unit,
            and its value is no constant that the bias could take over. None: ties only.
        whole: whether no unit of the output may be removed.
    """

    constants: np.ndarray
    ties: tuple[tuple[int, np.ndarray, np.ndarray], ...] = ()
    needs: np.ndarray | None = None
    whole: bool = False


#: Call and the constants of its inputs -> effect; None where it is not known.
Rule = Callable[[Call, list[np.ndarray]], "Effect | None"]


#: Functions that take each number by itself. Softmax, for one, is none.
_ELEMENTWISE = {
    getattr(module, name)
    for module in (keras.activations, tf.nn)
    for name in (
        *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "celu", "silu", "swish"),
        *("mish", "sigmoid", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "tanh"),
        *("softplus", "softsign", "exponential"),
    )
    if hasattr(module, name)
}


def effect_of(call: Call, known: list[np.ndarray]) -> Effect | None:
    """The effect of a call.

    Args:
        call: the call.
        known: for each input its constants, as in `Effect`.

    Returns:
        The effect; None where the layer is not known, is shared and has weights or a shape,
        was called with more than its inputs, holds NaN or infinity, or does not have its
        units on the last axis. Such a call is a barrier: it needs all units of its inputs and
        keeps all of its outputs.
    """
    layer = call.layer
    rule = _RULES.get(type(layer))
    shapes = call.input_shapes + call.output_shapes
    if rule is None or not call.plain or len(call.outputs) != 1:
        return None
    if any(len(shape) < 2 or shape[-1] is None for shape in shapes):
        return None
    if getattr(layer, "data_format", None) == "channels_first":
        return None
    if call.shared and (layer.weights or type(layer) is _LAYERS.Reshape):
        return None
    if len(layer.weights) != len(unit_axes(layer)):
        return None
    if not all(np.isfinite(array_of(weight)).all() for weight in layer.weights):
        return None
    return rule(call, known)


def _bias(layer: Any) -> Any:
    return 0.0 if layer.bias is None else array_of(layer.bias).astype(np.float64)


def _activated(layer: Any, sums: np.ndarray) -> np.ndarray:
    """The constants behind a layer's activation, in the precision it computes in."""
    values = array_of(layer.activation(tf.constant(sums, layer.compute_dtype)))
    return _known_only(values.astype(np.float64), ~np.isnan(sums))


def _known_only(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    # relu(NaN) may be 0, and what has no value cannot be folded.
    return np.where(known & np.isfinite(values), values, np.nan)


def _weighted_sum(call: Call, known: list[np.ndarray]) -> Effect | None:
    """Dense layers and convolutions, transposed ones too."""
    layer, (given,) = call.layer, known
    if getattr(layer, "groups", 1) != 1:
        return None
    kernel = sum_kernel(layer)
    foldable = given == 0 if pads(layer) else ~np.isnan(given)
    reads = (kernel != 0).any(axis=tuple(range(kernel.ndim - 2)))
    needs = reads & ~foldable[:, None]
    if layer.activation not in _ELEMENTWISE:
        return Effect(np.full(needs.shape[1], np.nan), needs=needs, whole=True)
    sums = _bias(layer) + constant_shift(layer, np.where(foldable, given, 0.0))
    constants = np.where(needs.any(axis=0), np.nan, sums)
    return Effect(_activated(layer, constants), needs=needs)


def _depthwise(call: Call, known: list[np.ndarray]) -> Effect | None:
    """Each input channel makes `depth_multiplier` outputs; they stay together."""
    layer, (given,) = call.layer, known
    kernel = array_of(getattr(layer, DEPTHWISE_KERNEL))  # (..., C, multiplier)
    if layer.activation not in _ELEMENTWISE:
        return None
    positions = tuple(range(kernel.ndim - 2))
    source = np.repeat(np.arange(kernel.shape[-2]), kernel.shape[-1])
    reads = (kernel != 0).any(axis=positions).ravel()
    totals = kernel.sum(axis=positions, dtype=np.float64).ravel()
    usable = given == 0 if pads(layer) else ~np.isnan(given)
    sums = np.where(reads, given[source] * totals, 0.0) + _bias(layer)
    constants = np.where(reads & ~usable[source], np.nan, sums)
    return Effect(_activated(layer, constants), _tied(source, np.arange(len(source))))


def _batch_norm(call: Call, known: list[np.ndarray]) -> Effect | None:
    """Gamma (x - mean) / sqrt(variance + epsilon) + beta; beta alone where gamma is 0."""
    layer, (given,) = call.layer, known
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    rank = len(call.input_shapes[0])
    if [axis % rank for axis in axes] != [rank - 1]:
        return None
    gamma = np.ones_like(given) if layer.gamma is None else array_of(layer.gamma)
    beta = np.zeros_like(given) if layer.beta is None else array_of(layer.beta)
    mean, variance = array_of(layer.moving_mean), array_of(layer.moving_variance)
    scale = gamma / np.sqrt(np.float64(variance) + layer.epsilon)
    constants = np.where(gamma == 0, beta, (given - mean) * scale + beta)
    return Effect(constants, _same(given))


def _activation(call: Call, known: list[np.ndarray]) -> Effect | None:
    """Activation layers without weights."""
    layer, (given,) = call.layer, known
    if type(layer) is _LAYERS.Activation and layer.activation not in _ELEMENTWISE:
        return None
    shape = (1,) * (len(call.input_shapes[0]) - 1) + given.shape
    values = array_of(layer(tf.constant(given.reshape(shape), layer.compute_dtype)))
    return Effect(_known_only(np.float64(values).ravel(), ~np.isnan(given)), _same(given))


def _unchanged(call: Call, known: list[np.ndarray]) -> Effect | None:
    """Layers that hand a constant on: pools, crops, enlargements, and dropout at rest."""
    return Effect(known[0], _same(known[0]))


def _zero_padding(call: Call, known: list[np.ndarray]) -> Effect | None:
    """Zero is the only constant that stays one beside the padding."""
    return Effect(np.where(known[0] == 0, 0.0, np.nan), _same(known[0]))


def _reshape(call: Call, known: list[np.ndarray]) -> Effect | None:
    """Flatten and Reshape where whole groups of units are joined to one axis, or split off.

    Numbers keep their order, so that a last axis of k C units holds k times all C units,
    and C units of a last axis of k C the same one k times.
    """
    (given,), width = known, call.output_shapes[0][-1]
    assert width is not None  # effect_of has seen to it
    units = np.arange(max(given.size, width))
    if width % given.size == 0:
        return Effect(given[units % given.size], _tied(units % given.size, units))
    if given.size % width == 0:
        groups = given.reshape(-1, width)
        constants = np.where((groups == groups[0]).all(axis=0), groups[0], np.nan)
        return Effect(constants, _tied(units, units % width))
    return None


def _merge(call: Call, known: list[np.ndarray]) -> Effect | None:
    """Sums, products and the like of tensors unit by unit."""
    ranks = {len(shape) for shape in call.input_shapes}
    widths = {shape[-1] for shape in call.input_shapes}
    if len(ranks) != 1 or len(widths) != 1:
        return None
    values = np.stack(known)
    constants = _MERGES[type(call.layer)](values)
    if type(call.layer) is _LAYERS.Multiply:
        constants = np.where((values == 0).any(axis=0), 0.0, constants)
    units = np.arange(constants.size)
    return Effect(constants, tuple((i, units, units) for i in range(len(known))))


def _concatenate(call: Call, known: list[np.ndarray]) -> Effect | None:
    """Units of the inputs one after the other; along other axes it is not known."""
    rank = len(call.output_shapes[0])
    if call.layer.axis % rank != rank - 1:
        return None
    ends = np.cumsum([given.size for given in known])
    ties = tuple(
        (i, np.arange(given.size), np.arange(end - given.size, end))
        for i, (given, end) in enumerate(zip(known, ends, strict=True))
    )
    return Effect(np.concatenate(known), ties)


def _tied(inputs: np.ndarray, outputs: np.ndarray) -> tuple:
    return ((0, inputs, outputs),)


def _same(given: np.ndarray) -> tuple:
    return _tied(np.arange(given.size), np.arange(given.size))


#: NaN goes through each of them.
_MERGES: dict[type, Callable[[np.ndarray], np.ndarray]] = {
    _LAYERS.Add: lambda values: values.sum(axis=0),
    _LAYERS.Subtract: lambda values: values[0] - values[1],
    _LAYERS.Multiply: lambda values: values.prod(axis=0),
    _LAYERS.Average: lambda values: values.mean(axis=0),
    _LAYERS.Maximum: lambda values: values.max(axis=0),
    _LAYERS.Minimum: lambda values: values.min(axis=0),
}

_POOLS = [
    f"{span}{kind}Pooling{axes}D"
    for span in ("", "Global")
    for kind in ("Max", "Average")
    for axes in (1, 2, 3)
]
_RESIZED = [f"{kind}{axes}D" for kind in ("UpSampling", "Cropping") for axes in (1, 2, 3)]
_AT_REST = ["Dropout", "GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization"]
_SPATIAL = [f"SpatialDropout{axes}D" for axes in (1, 2, 3)]

#: Layer type -> its rule; the one place to extend.
_RULES: dict[type, Rule] = {
    **dict.fromkeys((_LAYERS.Dense, *CONVOLUTIONS, *TRANSPOSED), _weighted_sum),
    **dict.fromkeys(DEPTHWISE, _depthwise),
    _LAYERS.BatchNormalization: _batch_norm,
    **dict.fromkeys(layer_types("Activation", "ReLU", "LeakyReLU", "ELU"), _activation),
    **dict.fromkeys(layer_types("Identity", *_POOLS, *_RESIZED, *_AT_REST, *_SPATIAL), _unchanged),
    **dict.fromkeys(layer_types("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"), _zero_padding),
    **dict.fromkeys((_LAYERS.Flatten, _LAYERS.Reshape), _reshape),
    **dict.fromkeys(_MERGES, _merge),
    _LAYERS.Concatenate: _concatenate,
}
