"""A copy of a model, with other layers in the place of its own and all weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from tfprune.backend import IS_TF_KERAS, keras
from tfprune.errors import UsageError
from tfprune.pruning.constraint import mask_of, select_kept
from tfprune.pruning.graph import is_graph, nested_models, parts, unwrapped
from tfprune.pruning.kernels import maskable


def rebuild(model: Any, make_layer: Callable[[Any], Any]) -> Any:
    """A copy of the model from `make_layer(layer)` for each layer, with all weights and masks.

    Args:
        model: a functional or sequential model, nested or not. It is not changed.
        make_layer: gives a new layer, not built, for each layer that is no model: the same
            one, wrapped, or out of its wrapper. A shared layer is made once and shared again.

    Returns:
        A new model, not compiled, with the same graph. Where a layer was wrapped its removed
        weights are exactly +0.0, whether or not the new layer is wrapped and has the masks.

    Raises:
        UsageError: a layer that cannot be made, by name.
    """
    clone, pairs = copy_graph(model, make_layer)
    for old, new in pairs:
        unwrapped(new).set_weights(unwrapped(old).get_weights())
        for (_, before), (_, after) in zip(parts(old), parts(new), strict=True):
            _copy_masks(before, after)
    return clone


def clone_layer(layer: Any) -> Any:
    """A new layer, not built, with the config and the name of the given one."""
    clone = type(layer).from_config(layer.get_config())
    if clone.name != layer.name:  # the config of a subclassed model need not have it
        setattr(clone, "_name" if IS_TF_KERAS else "name", layer.name)
    return clone


def _copy_masks(old: Any, new: Any) -> None:
    """Zeroes what was removed from a layer itself, whatever was written to it since."""
    for attribute, variable in maskable(old).items():
        mask, copy = mask_of(variable), getattr(new, attribute)
        if mask is not None:
            copy.assign(select_kept(mask, copy))
            if mask_of(copy) is not None:
                mask_of(copy).assign(mask)


def copy_graph(model: Any, make_layer: Callable[[Any], Any]) -> tuple[Any, list[tuple[Any, Any]]]:
    """A copy of the model's graph with fresh weights.

    Args:
        model: as in `rebuild`.
        make_layer: as in `rebuild`.

    Returns:
        The new model, and (old, new) for each layer that has weights of its own.

    Raises:
        UsageError: a layer that cannot be made, by name.
    """
    pairs: dict[int, tuple[Any, Any]] = {}

    def copy(layer: Any) -> Any:
        if id(layer) not in pairs:
            pairs[id(layer)] = (layer, copy_model(layer) if is_graph(layer) else make(layer))
        return pairs[id(layer)][1]

    def make(layer: Any) -> Any:
        try:
            return make_layer(layer)
        except (NotImplementedError, TypeError, ValueError) as error:
            raise UsageError(
                f"layer {layer.name!r} cannot be copied: its get_config must give all arguments "
                f"of its constructor. Received: {type(layer).__name__}, {error}"
            ) from error

    def copy_model(owner: Any) -> Any:
        clone = keras.models.clone_model(owner, clone_function=copy)
        if not owner.trainable:
            clone.trainable = False
        return clone

    with _not_compiled(model):
        clone = copy_model(model)
    if not clone.built:
        clone.build(model.input_shape)
    # Operations of Keras 3 (x + y) are no layers and have no weights.
    weighted = [
        (old, new)
        for old, new in pairs.values()
        if not is_graph(old) and getattr(old, "weights", [])
    ]
    return clone, weighted


@contextlib.contextmanager
def _not_compiled(model: Any) -> Iterator[None]:
    """Keeps Keras 3 from copying losses and optimizers, which need not be serializable."""
    owners = [m for m in [model, *nested_models(model)] if not IS_TF_KERAS and m.compiled]
    try:
        for owner in owners:
            owner.compiled = False
        yield
    finally:
        for owner in owners:
            owner.compiled = True
