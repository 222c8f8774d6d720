"""Which variables of which layers may be pruned, and how a user names them."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfprune.backend import IS_TF_KERAS, keras, tf
from tfprune.errors import UsageError
from tfprune.pruning.graph import leaf_layers, output_layers, unwrapped
from tfprune.pruning.masks import unit_mask


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One prunable variable of a layer type.

    Attributes:
        attribute: attribute of the layer that holds the variable ("kernel").
        constraint: attribute that holds its constraint and that `build` reads.
        kind: "conv", "fc", "depthwise", "embedding", or "custom".
        unit_axes: axes of the kernel along which its units (filters, neurons) lie; None
            where that depends on the layer or where there are none.
        bias: attribute of the bias that dies with a unit; None where there is none.
    """

    attribute: str
    constraint: str
    kind: str
    unit_axes: tuple[int, ...] | None = None
    bias: str | None = None


_CONV = Kernel("kernel", "kernel_constraint", "conv", (-1,), "bias")
_TRANSPOSED = dataclasses.replace(_CONV, unit_axes=(-2,))  # (..., out, in)
_POINTWISE = Kernel("pointwise_kernel", "pointwise_constraint", "conv", (-1,), "bias")
# Input channel and multiplier make a unit. Only the name of the attribute differs.
_DEPTHWISE = Kernel(
    "depthwise_kernel" if IS_TF_KERAS else "kernel",
    "depthwise_constraint",
    "depthwise",
    (-2, -1),
    "bias",
)

#: Layer type -> its prunable variable. A subclass has that of its nearest base.
KERNELS: dict[type, Kernel] = {
    keras.layers.Conv1D: _CONV,
    keras.layers.Conv2D: _CONV,
    keras.layers.Conv3D: _CONV,
    keras.layers.Conv1DTranspose: _TRANSPOSED,
    keras.layers.Conv2DTranspose: _TRANSPOSED,
    keras.layers.Conv3DTranspose: _TRANSPOSED,
    keras.layers.SeparableConv1D: _POINTWISE,
    keras.layers.SeparableConv2D: _POINTWISE,
    keras.layers.DepthwiseConv1D: _DEPTHWISE,
    keras.layers.DepthwiseConv2D: _DEPTHWISE,
    keras.layers.Dense: Kernel("kernel", "kernel_constraint", "fc", (-1,), "bias"),
    keras.layers.EinsumDense: Kernel("kernel", "kernel_constraint", "fc", None, "bias"),
    keras.layers.Embedding: Kernel("embeddings", "embeddings_constraint", "embedding"),
}

#: Words that stand for several layers in `layers` and `exclude`.
GROUPS = ("all", "conv", "fc", "depthwise", "embedding")
_OPT_IN = ("depthwise", "embedding")


@dataclasses.dataclass(frozen=True)
class Prunable:
    """One prunable variable of a model.

    Attributes:
        name: what a user calls it: the path of its layer ("conv1", "block/conv1"), followed
            by the attribute where a layer has several.
        key: name of its mask, "conv1/kernel".
        path: path of its layer.
        layer: the layer itself, out of its wrapper.
        kernel: where in the layer it is.
        mask: the variable that holds its mask; None where the layer is not wrapped.
    """

    name: str
    key: str
    path: str
    layer: Any
    kernel: Kernel
    mask: Any

    @property
    def variable(self) -> Any:
        """The Keras variable."""
        return getattr(self.layer, self.kernel.attribute)


@dataclasses.dataclass(frozen=True)
class LayerInfo:
    """One row of the layer table.

    Attributes:
        name: as in `Prunable`.
        kind: as in `Kernel`.
        shape: shape of the kernel.
        size: its number of weights.
        kept: how many of them were not removed.
        sparsity: 1 - kept / size.
        threshold: smallest |w| of the kept weights; None when not pruned.
        pruned: whether it has a mask, or in a plain model a zero.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    size: int
    kept: int
    sparsity: float
    threshold: float | None
    pruned: bool


def kernels_of(layer: Any) -> tuple[Kernel, ...]:
    """The prunable variables of a layer, which need not be built.

    A custom layer names its own with `prunable_weights = ("kernel",)`; it passes
    `constraint=self.kernel_constraint` (the name, then `_constraint`) to `add_weight`.
    """
    declared = getattr(layer, "prunable_weights", None)
    if declared is not None:
        return tuple(Kernel(name, f"{name}_constraint", "custom") for name in declared)
    for base in type(layer).__mro__:
        if base in KERNELS:
            return (KERNELS[base],)
    return ()


def maskable(layer: Any) -> dict[str, str]:
    """Attribute -> constraint attribute of all variables of a layer that a mask may cover."""
    found = {}
    if isinstance(layer, keras.layers.BatchNormalization):
        found = {"gamma": "gamma_constraint", "beta": "beta_constraint"}
    for kernel in kernels_of(layer):
        found[kernel.attribute] = kernel.constraint
        if kernel.bias:
            found[kernel.bias] = f"{kernel.bias}_constraint"
    return found


def prunables(model: Any) -> list[Prunable]:
    """All prunable variables of a model, plain, wrapped or nested, in model order."""
    found = []
    for path, outer in leaf_layers(model):
        layer = unwrapped(outer)
        kernels = kernels_of(layer)
        masks = {} if layer is outer else outer.masks
        for kernel in kernels:
            key = f"{path}/{kernel.attribute}"
            if getattr(layer, kernel.attribute, None) is None:
                raise UsageError(
                    f"layer {path!r} has no variable {kernel.attribute!r} yet: build the model "
                    "first, with model.build(input_shape) or by calling it on data"
                )
            name = path if len(kernels) == 1 else key
            mask = masks.get(kernel.attribute)
            found.append(Prunable(name, key, path, layer, kernel, mask))
    return found


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


def select(
    model: Any, layers: str | Iterable[str] | None = None, exclude: str | Iterable[str] = ()
) -> list[Prunable]:
    """Resolves what a user calls a group to variables, in model order.

    The output layers (the last ones with a kernel on the way to each output) are left out
    unless named exactly; so are depthwise convolutions and embeddings, unless named exactly
    or by their kind.

    Args:
        model: a built functional or sequential model.
        layers: None or "all"; "conv", "fc", "depthwise", "embedding"; the name of a layer,
            with wildcards ("block1/*") or without; or several of these.
        exclude: the same, to be left out again.

    Raises:
        UsageError: a name that no prunable layer has, or a group without layers.
    """
    found = prunables(model)
    outputs = {id(layer) for layer in output_layers(model)}
    hidden = [p for p in found if id(p.layer) not in outputs]
    names = _as_names(layers if layers is not None else "all", "layers")
    wanted = {p.key for name in names for p in _matching(name, found, hidden, "layers")}
    for name in _as_names(exclude, "exclude"):
        wanted -= {p.key for p in _matching(name, found, found, "exclude")}
    if not wanted:
        raise UsageError(
            f"no layer is left to prune. Received: layers={layers!r}, exclude={exclude!r}. "
            f"Possible names: {_listed(found)}"
        )
    return [p for p in found if p.key in wanted]


def _as_names(names: str | Iterable[str], argument: str) -> list[str]:
    listed = [names] if isinstance(names, str) else list(names)
    if not all(isinstance(name, str) for name in listed):
        raise UsageError(f"{argument} must be names of layers. Received: {names!r}")
    return listed


def _matching(
    name: str, found: list[Prunable], candidates: list[Prunable], argument: str
) -> list[Prunable]:
    if name in GROUPS:
        default = [p for p in candidates if p.kernel.kind not in _OPT_IN]
        return default if name == "all" else [p for p in candidates if p.kernel.kind == name]
    exact = [p for p in found if name in (p.name, p.path)]
    if exact:
        return exact
    if any(character in name for character in "*?["):
        matched = [
            p
            for p in candidates
            if p.kernel.kind not in _OPT_IN and fnmatch.fnmatchcase(p.name, name)
        ]
        if matched:
            return matched
    raise UsageError(
        f"{argument}: no layer called {name!r} has weights to prune. "
        f"Possible names: {_listed(found)}; or one of {', '.join(GROUPS)}"
    )


def _listed(found: list[Prunable]) -> str:
    return ", ".join(p.name for p in found) or "none (the model has no prunable layer)"


def describe(model: Any) -> list[LayerInfo]:
    """The layer table: every layer with a prunable kernel, in model order.

    In a pruned model the masks tell what was removed; a plain or stripped model has only its
    zeros. (A kept weight may be zero too: of 17 million random ones two were.)
    """
    found = prunables(model)
    by_masks = any(prunable.mask is not None for prunable in found)
    rows = []
    for prunable in found:
        weights = np.abs(tf.convert_to_tensor(prunable.variable).numpy())
        if prunable.mask is not None:
            kept = tf.convert_to_tensor(prunable.mask).numpy()
        else:
            kept = np.broadcast_to(True, weights.shape) if by_masks else weights > 0
        count = int(np.count_nonzero(kept))
        pruned = prunable.mask is not None if by_masks else count < weights.size
        smallest = weights.min(where=kept, initial=np.inf) if pruned and count else None
        rows.append(
            LayerInfo(
                name=prunable.name,
                kind=prunable.kernel.kind,
                shape=tuple(weights.shape),
                size=weights.size,
                kept=count,
                sparsity=(weights.size - count) / weights.size,
                threshold=None if smallest is None else float(smallest),
                pruned=pruned,
            )
        )
    return rows
