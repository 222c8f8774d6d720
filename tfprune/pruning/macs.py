"""Multiply-accumulates of a model, layer by layer: what pruning could save in arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.errors import UsageError
from tfprune.pruning.graph import unwrapped

_LAYERS = keras.layers
_TRANSPOSED = (_LAYERS.Conv1DTranspose, _LAYERS.Conv2DTranspose, _LAYERS.Conv3DTranspose)
_CONVOLUTIONS = (
    _LAYERS.Conv1D,
    _LAYERS.Conv2D,
    _LAYERS.Conv3D,
    _LAYERS.DepthwiseConv1D,
    _LAYERS.DepthwiseConv2D,
    _LAYERS.SeparableConv1D,
    _LAYERS.SeparableConv2D,
)


def macs(model: keras.Model) -> dict[str, tuple[int, int]]:
    """Multiply-accumulates of one sample, dense and with the zeros left out.

    Each weight of a kernel works once at every position, so that a layer counts
    positions x weights, and positions x nonzero weights once pruned. Positions are the
    output pixels of a convolution (LeNet-5's conv1: 24 x 24), the input pixels of a
    transposed one, and all axes but the first and last of a dense layer's output (1 for a
    plain one). Biases, batch norms, pools and layers of other kinds are not counted.

    Args:
        model: a functional or sequential model, plain, wrapped or nested. A layer that is
            called several times counts as often.

    Returns:
        Layer ("block/conv1" in a nested model) -> (dense, kept), in model order.

    Raises:
        UsageError: a subclassed model, or image axes of unknown size.
    """
    counted = {}
    for name, (layer, count) in _uses(model).items():
        kernels = [np.asarray(kernel) for kernel in _kernels(layer)]
        dense = count * sum(kernel.size for kernel in kernels)
        counted[name] = (dense, count * sum(int(np.count_nonzero(kernel)) for kernel in kernels))
    return counted


def positions(model: keras.Model) -> dict[str, int]:
    """How often each weight of a layer is used for one sample; layers and errors as in `macs`."""
    return {name: count for name, (_, count) in _uses(model).items()}


def _uses(model: keras.Model) -> dict[str, tuple[Any, int]]:
    """Name -> (layer, positions of all its calls together), in model order."""
    found: dict[str, tuple[Any, int]] = {}
    for name, layer, inputs, outputs in _calls(model, ""):
        count = _positions(name, layer, inputs, outputs)
        if count is not None:
            found[name] = (layer, count + (found[name][1] if name in found else 0))
    return found


def _calls(model: keras.Model, path: str) -> Iterator[tuple[str, Any, tuple, tuple]]:
    """Every call of a layer in the graph: (name, layer, input shape, output shape)."""
    # Keras 3 keeps the graph of a Sequential in a functional model inside it.
    graph = getattr(model, "_functional", None) or model
    if not getattr(graph, "_nodes_by_depth", None):
        raise UsageError(
            "macs are counted in the graph of a built functional or Sequential model. "
            f"Received: {type(model).__name__} {model.name!r}"
        )
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            layer = node.operation if hasattr(node, "operation") else node.layer
            name = f"{path}{layer.name}"
            if isinstance(layer, keras.Model):
                yield from _calls(layer, f"{name}/")
            elif not node.is_input:
                inputs = tf.nest.flatten(node.input_tensors)
                outputs = tf.nest.flatten(node.output_tensors)
                yield name, unwrapped(layer), tuple(inputs[0].shape), tuple(outputs[0].shape)


def _kernels(layer: Any) -> list[Any]:
    """The weights that multiply: a separable convolution has two kernels."""
    return [weight for weight in layer.weights if "kernel" in weight.name.split("/")[-1]]


def _positions(name: str, layer: Any, inputs: tuple, outputs: tuple) -> int | None:
    """How often each weight of a layer is used for one sample; None: not counted."""
    if isinstance(layer, _LAYERS.EinsumDense):
        sizes: Sequence[int | None] = _einsum_positions(layer.equation, inputs)
    elif isinstance(layer, _LAYERS.Dense):
        sizes = outputs[1:-1]
    elif isinstance(layer, _TRANSPOSED + _CONVOLUTIONS):
        # A transposed convolution spreads each input pixel over the output.
        shape = inputs if isinstance(layer, _TRANSPOSED) else outputs
        sizes = shape[2:] if layer.data_format == "channels_first" else shape[1:-1]
    else:
        return None
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        raise UsageError(
            f"macs need images of known size; build the model with one. Received: {name} "
            f"with input {inputs} and output {outputs}"
        )
    return math.prod(known)


def _einsum_positions(equation: str, inputs: tuple) -> list[int | None]:
    """The input axes, but for the batch, that the kernel of an EinsumDense does not share.

    "...b,bc->...c" may stand for any number of axes at the dots; none is the kernel's.
    """
    left, kernel = equation.replace(" ", "").split("->")[0].split(",")
    before, dots, after = left.partition("...")
    letters = [*before, *("." * (len(inputs) - len(before + after) if dots else 0)), *after]
    axes = list(zip(letters, inputs, strict=True))
    return [size for letter, size in axes[1:] if letter not in kernel.replace(".", "")]
