"""A copy of a model in which layers have fewer units: slices of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import keras
from tfprune.export.liveness import Liveness
from tfprune.export.unit_weights import (
    CONVOLUTIONS,
    TRANSPOSED,
    array_of,
    constant_shift,
    unit_axes,
)
from tfprune.export.units import Call
from tfprune.pruning.rebuild import copy_graph

#: Layer type -> argument of its constructor that holds the number of its units.
_WIDTHS = {
    keras.layers.Dense: "units",
    **dict.fromkeys((*CONVOLUTIONS, *TRANSPOSED), "filters"),
}


@dataclass(frozen=True)
class Cut:
    """What becomes of one layer.

    Attributes:
        config: arguments of its constructor that change.
        arrays: attribute -> its new values, for each of its variables.
        indices: attribute -> axis -> old indices that stay, ascending, for the axes that
            lose some.
    """

    config: dict[str, Any]
    arrays: dict[str, np.ndarray]
    indices: dict[str, dict[int, np.ndarray]]


def cuts_of(liveness: Liveness) -> dict[int, Cut]:
    """Cuts by the id of their layer, for the layers of a graph that lose something."""
    found = {id(call.layer): _cut(call, liveness) for call in liveness.calls}
    return {layer: cut for layer, cut in found.items() if cut is not None}


def cut_copy(model: Any, cuts: Mapping[int, Cut]) -> Any:
    """A copy of a plain model, not compiled, with some layers cut.

    Args:
        model: a functional or sequential model without wrappers, not compiled.
        cuts: id of a layer -> its cut; the other layers are copied as they are.
    """

    def make(layer: Any) -> Any:
        change = cuts[id(layer)].config if id(layer) in cuts else {}
        return type(layer).from_config({**layer.get_config(), **change})

    clone, pairs = copy_graph(model, make)
    for old, new in pairs:
        if id(old) in cuts:
            for name, values in cuts[id(old)].arrays.items():
                getattr(new, name).assign(values)
        else:
            new.set_weights(old.get_weights())
    return clone


def _cut(call: Call, liveness: Liveness) -> Cut | None:
    """What the live units leave of a layer; None where that is all of it."""
    layer = call.layer
    sides = {"in": liveness.live[call.inputs[0]], "out": liveness.live[call.outputs[0]]}
    if all(live.all() for live in sides.values()):
        return None
    width = int(sides["out"].sum())
    if type(layer) is keras.layers.Reshape:
        return Cut({"target_shape": (*layer.target_shape[:-1], width)}, {}, {})
    axes = unit_axes(layer)
    if not axes:
        return None
    arrays = {name: array_of(getattr(layer, name)) for name in axes}
    config: dict[str, Any] = {
        f"{name}_initializer": "zeros"
        for name in axes
        if _is_array(getattr(layer, f"{name}_initializer", None))
    }
    if type(layer) in _WIDTHS:
        config[_WIDTHS[type(layer)]] = width
        gone = ~sides["in"] & ~np.isnan(liveness.constants[call.inputs[0]])
        shift = constant_shift(layer, np.where(gone, liveness.constants[call.inputs[0]], 0.0))
        if shift[sides["out"]].any():
            # A layer without a bias gets one.
            config["use_bias"] = True
            arrays["bias"] = arrays.get("bias", 0.0) + shift
            axes["bias"] = {0: "out"}
    kept = {
        name: {
            axis: np.flatnonzero(sides[side]) for axis, side in of.items() if not sides[side].all()
        }
        for name, of in axes.items()
    }
    for name, of in kept.items():
        arrays[name] = sliced(arrays[name], of)
    return Cut(config, arrays, {name: of for name, of in kept.items() if of})


def _is_array(initializer: Any) -> bool:
    """Whether an initializer holds an array, which has the old shape and no other."""
    constant = isinstance(initializer, keras.initializers.Constant)
    return constant and np.ndim(initializer.value) > 0


def sliced(array: np.ndarray, indices: Mapping[int, np.ndarray]) -> np.ndarray:
    """The part of an array that is left: axis -> indices that stay, for some of its axes."""
    for axis, kept in indices.items():
        array = array.take(kept, axis=axis)
    return array
