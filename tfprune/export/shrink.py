"""shrink: takes the units that pruning has killed out of a model, and changes nothing else.

A pruned model has the shape it had before; its zeros save bytes and no time. Units that
have become superfluous (filters, channels, neurons) can be taken out for good, which
leaves a smaller dense model, faster everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.errors import UsageError
from tfprune.export.cut import cut_copy, cuts_of, sliced
from tfprune.export.liveness import calls_of, find_live_units, graphs_of, uses_of
from tfprune.pruning.graph import leaf_layers
from tfprune.pruning.loading import check_model
from tfprune.pruning.macs import macs
from tfprune.pruning.pruner import strip

#: "conv1/kernel" -> axis -> old indices that stay, ascending; the position is the new index.
Indices = Mapping[str, Mapping[int, np.ndarray]]


@dataclass(frozen=True)
class LayerUnits:
    """One layer with weights, before and after.

    Attributes:
        name: path of the layer, "conv1" or "block/conv1".
        units: size of the last axis of its output.
        parameters: number of its weights, zeros counted.
        macs: multiply-accumulates of one sample, zeros counted; 0 for layers that
            `tfprune.pruning.macs` does not count, None where the size of the images is open.
    """

    name: str
    units: tuple[int | None, int | None]
    parameters: tuple[int, int]
    macs: tuple[int, int] | None


@dataclass(frozen=True)
class Shrunk:
    """A shrunk model and what became of the old one.

    Attributes:
        model: the smaller model.
        layers: every layer with weights, in model order.
        indices: which indices of which axes of the variables stayed, for the axes that lost
            some: "conv1/kernel" -> axis -> old indices, ascending.
    """

    model: Any
    layers: tuple[LayerUnits, ...]
    indices: Indices

    @property
    def parameters(self) -> tuple[int, int]:
        """Number of weights before and after."""
        pairs = [layer.parameters for layer in self.layers]
        return sum(before for before, _ in pairs), sum(after for _, after in pairs)

    @property
    def macs(self) -> tuple[int, int] | None:
        """Multiply-accumulates of one sample before and after; None for open image sizes."""
        pairs = [layer.macs for layer in self.layers if layer.macs is not None]
        if len(pairs) < len(self.layers):
            return None
        return sum(before for before, _ in pairs), sum(after for _, after in pairs)

    def __str__(self) -> str:
        """A table, a line for each layer and one for the model."""
        rows = [("layer", "units", "parameters", "MACs")]
        for layer in self.layers:
            pairs = _arrow(layer.units), _arrow(layer.parameters), _arrow(layer.macs)
            rows.append((layer.name, *pairs))
        rows.append((self.model.name, "", _arrow(self.parameters), _arrow(self.macs)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        )


def shrink(model: Any) -> Any:
    """Takes out the units that no output of the model depends on.

    A unit goes where it is constant (a filter without weights, and all behind it) and each
    of its consumers can do without it: the value is zero, or their bias takes it over. It
    also goes where no consumer has a weight that reads it. Consumers that go themselves do
    not count, so that nothing is left that a second call could take out. Constants that
    are not zero are folded through dense layers and through convolutions without padding;
    in front of a padding ('same') they are left alone, since its zeros cut into them.

    Taken out of: Dense, Conv, ConvTranspose, DepthwiseConv, BatchNormalization. Followed
    through: activations, pools, zero padding, cropping, upsampling, dropout, Flatten and
    Reshape, Add and other merges of tensors of one shape, Concatenate on the last axis.
    Everything else keeps all units that flow into it and out of it: other layers,
    subclasses of these, layers with weights that are called more than once, grouped
    convolutions, channels_first, operations such as `x + y` and outputs of the model.
    Nested models are shrunk inside and keep their inputs and outputs whole. A layer all of
    whose units could go keeps one.

    Args:
        model: a functional or sequential model, from `prune` or `strip` or any other. It is
            not changed.

    Returns:
        A new, plain model, not compiled, with the same layer names, inputs and outputs. The
        outputs are the same but for rounding: sums that lost their zero terms may be added
        in another order.

    Raises:
        UsageError: no built functional or sequential Keras model.
    """
    return shrink_with_report(model).model


def shrink_with_report(model: Any) -> Shrunk:
    """`shrink`, with a table of what went and the indices of what stayed.

    Raises:
        UsageError: no built functional or sequential Keras model.
    """
    check_model(model)
    plain = strip(model)
    cuts = {layer: cut for graph in find_live_units(plain) for layer, cut in cuts_of(graph).items()}
    small = cut_copy(plain, cuts)
    indices = {
        f"{path}/{name}": kept
        for path, layer in leaf_layers(plain)
        if id(layer) in cuts
        for name, kept in cuts[id(layer)].indices.items()
    }
    return Shrunk(small, _compare(plain, small), indices)


def shrink_masks(masks: Mapping[str, np.ndarray], indices: Indices) -> dict[str, np.ndarray]:
    """The masks of a model, sliced to the model that `shrink` made of it.

    Args:
        masks: "conv1/kernel" -> bool array, True = kept, of the model before.
        indices: those of the `Shrunk`.

    Returns:
        The masks of the model after, for `audit(shrunk.model, masks)`.

    Raises:
        UsageError: a mask that is too small for its indices: it belongs to another model.
    """
    for key, mask in masks.items():
        for axis, kept in indices.get(key, {}).items():
            if axis >= mask.ndim or kept[-1] >= mask.shape[axis]:
                raise UsageError(
                    f"the mask {key!r} must be that of the model before it was shrunk, with more "
                    f"than {kept[-1]} entries on axis {axis}. Received: shape {mask.shape}"
                )
    return {key: sliced(mask, indices.get(key, {})) for key, mask in masks.items()}


def _compare(before: Any, after: Any) -> tuple[LayerUnits, ...]:
    old_units, new_units = _units(before), _units(after)
    counted = _dense_macs(before), _dense_macs(after)
    rows, small = [], dict(leaf_layers(after))
    for path, old in leaf_layers(before):
        new = small[path]
        if not getattr(old, "weights", []):
            continue
        old_macs, new_macs = counted
        rows.append(
            LayerUnits(
                name=path,
                units=(old_units[id(old)], new_units[id(new)]),
                parameters=(old.count_params(), new.count_params()),
                macs=None
                if old_macs is None or new_macs is None
                else (old_macs.get(path, 0), new_macs.get(path, 0)),
            )
        )
    return tuple(rows)


def _units(model: Any) -> dict[int, int | None]:
    """Size of the last axis of a layer's output, by the id of the layer."""
    uses = uses_of(model)
    calls = (call for owner in graphs_of(model) for call in calls_of(owner, uses))
    return {id(call.layer): call.output_shapes[0][-1] for call in calls}


def _dense_macs(model: Any) -> dict[str, int] | None:
    try:
        return {name: dense for name, (dense, _) in macs(model).items()}
    except UsageError:
        return None  # the size of the images is open


def _arrow(pair: tuple[int | None, int | None] | None) -> str:
    if pair is None or None in pair:
        return "?"
    return f"{pair[0]:,} -> {pair[1]:,}" if pair[0] != pair[1] else f"{pair[0]:,}"
