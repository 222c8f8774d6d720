"""Which variables of a layer may be pruned, and which a mask may cover."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfprune.backend import IS_TF_KERAS, keras


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One prunable variable of a layer type.

    Attributes:
        attribute: attribute of the layer that holds the variable ("kernel").
        kind: "conv", "fc", "rnn", "depthwise", "embedding", or "custom".
        unit_axes: axes of the kernel along which its units (filters, neurons) lie; None
            where that depends on the layer or where there are none.
        bias: attribute of the bias that dies with a unit; None where there is none.
    """

    attribute: str
    kind: str
    unit_axes: tuple[int, ...] | None = None
    bias: str | None = None


_CONV = (Kernel("kernel", "conv", (-1,), "bias"),)
_TRANSPOSED = (Kernel("kernel", "conv", (-2,), "bias"),)  # (..., out, in)
# Input channel and multiplier make a unit. Only the name of the attribute differs.
_DEPTHWISE_NAME = "depthwise_kernel" if IS_TF_KERAS else "kernel"
_DEPTHWISE = (Kernel(_DEPTHWISE_NAME, "depthwise", (-2, -1), "bias"),)
# What lies between the two is no output: the units are those of the second.
_SEPARABLE = (
    Kernel("depthwise_kernel", "depthwise"),
    Kernel("pointwise_kernel", "conv", (-1,), "bias"),
)
# A unit lives in several gates, and its bias opens and closes them: it does not die.
_RECURRENT = (Kernel("kernel", "rnn"), Kernel("recurrent_kernel", "rnn"))

#: Layer type -> its prunable variables. A subclass has those of its nearest base. Layers made
#: of others need no line: LSTM has its cell, MultiHeadAttention its four dense layers.
KERNELS: dict[type, tuple[Kernel, ...]] = {
    keras.layers.Conv1D: _CONV,
    keras.layers.Conv2D: _CONV,
    keras.layers.Conv3D: _CONV,
    keras.layers.Conv1DTranspose: _TRANSPOSED,
    keras.layers.Conv2DTranspose: _TRANSPOSED,
    keras.layers.Conv3DTranspose: _TRANSPOSED,
    keras.layers.SeparableConv1D: _SEPARABLE,
    keras.layers.SeparableConv2D: _SEPARABLE,
    keras.layers.DepthwiseConv1D: _DEPTHWISE,
    keras.layers.DepthwiseConv2D: _DEPTHWISE,
    keras.layers.Dense: (Kernel("kernel", "fc", (-1,), "bias"),),
    keras.layers.EinsumDense: (Kernel("kernel", "fc", None, "bias"),),
    keras.layers.Embedding: (Kernel("embeddings", "embedding"),),
    keras.layers.SimpleRNNCell: _RECURRENT,
    keras.layers.GRUCell: _RECURRENT,
    keras.layers.LSTMCell: _RECURRENT,
}


def kernels_of(layer: Any) -> tuple[Kernel, ...]:
    """The prunable variables of a layer itself, not of those inside it; it need not be built.

    A custom layer names its own in the class attribute `prunable_weights = ("kernel",)`.
    """
    declared = getattr(layer, "prunable_weights", None)
    if declared is not None:
        return tuple(Kernel(name, "custom") for name in declared)
    for base in type(layer).__mro__:
        if base in KERNELS:
            return KERNELS[base]
    return ()


def maskable(layer: Any) -> dict[str, Any]:
    """Attribute -> variable of all variables of a layer itself that a mask may cover.

    Its kernels and their biases; of a batch normalization scale and shift. Only those that
    are there: a layer may have no bias, or not be built.
    """
    names = []
    if isinstance(layer, keras.layers.BatchNormalization):
        names = ["gamma", "beta"]
    for kernel in kernels_of(layer):
        names += [kernel.attribute, *([kernel.bias] if kernel.bias else [])]
    found = {name: getattr(layer, name, None) for name in names}
    return {name: variable for name, variable in found.items() if variable is not None}
