"""Where in the weights of a layer its units lie, for the layers whose units can be taken out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.backend import IS_TF_KERAS, keras, tf

_LAYERS = keras.layers


def layer_types(*names: str) -> tuple[type, ...]:
    """Layer types by name; those that only the other Keras has are left out."""
    return tuple(getattr(_LAYERS, name) for name in names if hasattr(_LAYERS, name))


CONVOLUTIONS = layer_types("Conv1D", "Conv2D", "Conv3D")
TRANSPOSED = layer_types("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
DEPTHWISE = layer_types("DepthwiseConv1D", "DepthwiseConv2D")
DEPTHWISE_KERNEL = "depthwise_kernel" if IS_TF_KERAS else "kernel"


def unit_axes(layer: Any) -> dict[str, dict[int, str]]:
    """Variable of a known layer -> axis -> "in" or "out", whose units lie along it."""
    axes: dict[str, dict[int, str]] = {}
    if type(layer) is _LAYERS.BatchNormalization:
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        axes = {name: {0: "out"} for name in names}
    elif type(layer) in DEPTHWISE:
        rank = len(getattr(layer, DEPTHWISE_KERNEL).shape)
        axes = {DEPTHWISE_KERNEL: {rank - 2: "in"}, "bias": {0: "out"}}
    elif type(layer) in (_LAYERS.Dense, *CONVOLUTIONS, *TRANSPOSED):
        rank = len(layer.kernel.shape)
        last_two = ("out", "in") if type(layer) in TRANSPOSED else ("in", "out")
        axes = {"kernel": dict(zip((rank - 2, rank - 1), last_two, strict=True))}
        axes["bias"] = {0: "out"}
    return {name: of for name, of in axes.items() if getattr(layer, name, None) is not None}


def constant_shift(layer: Any, values: np.ndarray) -> np.ndarray:
    """What constant inputs add to each output of a dense layer or convolution.

    shift_j = sum_i values_i * sum_p kernel_p,i,j over the positions p of the kernel, where
    no padding is read.

    Args:
        layer: a dense layer or convolution.
        values: (inputs,) float64, 0 for the inputs to leave out.

    Returns:
        (outputs,) float64.
    """
    kernel = sum_kernel(layer)
    read = np.flatnonzero(values)
    positions = tuple(range(kernel.ndim - 2))
    return values[read] @ kernel[..., read, :].sum(axis=positions, dtype=np.float64)


def sum_kernel(layer: Any) -> np.ndarray:
    """The kernel of a weighted sum as (..., inputs, outputs)."""
    kernel = array_of(layer.kernel)
    return kernel.swapaxes(-1, -2) if type(layer) in TRANSPOSED else kernel


def pads(layer: Any) -> bool:
    """Whether a layer may see padding, where a constant input is not constant."""
    if type(layer) is _LAYERS.Dense:
        return False
    # A transposed convolution reaches its borders by fewer weights, padding or not.
    unpadded = layer.padding == "valid" or all(side == 1 for side in layer.kernel_size)
    return type(layer) in TRANSPOSED or not unpadded


def array_of(variable: Any) -> np.ndarray:
    """The values of a variable."""
    return tf.convert_to_tensor(variable).numpy()
