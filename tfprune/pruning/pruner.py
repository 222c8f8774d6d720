"""prune, strip and what stands between them: the masks of a whole model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tfprune.backend import tf
from tfprune.errors import UsageError
from tfprune.pruning.allocation import Target
from tfprune.pruning.choice import Request, choose_masks
from tfprune.pruning.graph import followers, leaf_layers, unwrapped
from tfprune.pruning.loading import check_model, load_model
from tfprune.pruning.prunable import kernels_of, live_units, prunables, select
from tfprune.pruning.rebuild import rebuild
from tfprune.pruning.wrapper import PrunableLayer

__all__ = [
    "apply_masks",
    "get_masks",
    "layer_sparsities",
    "load_model",
    "prune",
    "set_masks",
    "strip",
]


def prune(
    model: Any,
    sparsity: float | None = None,
    *,
    layers: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] = (),
    allocation: str = "global",
    layer_sparsity: Mapping[str, float] | None = None,
    quality: float | None = None,
    target_bytes: int | None = None,
    target_macs: int | None = None,
    granularity: str | tuple[int, int] = "weight",
    criterion: str = "magnitude",
    criterion_rounds: int | None = None,
    data: Any = None,
    loss: Any = None,
    seed: int = 0,
    in_place: bool = False,
) -> Any:
    """Removes the least important weights of a model; they stay zero while it trains.

    A group of N weights (filters, blocks) at sparsity s loses exactly floor(s N + 0.5). A unit
    (filter, channel, neuron) that loses its last weight loses its bias, and the scale and
    shift of a batch normalization that alone follows it, so that it outputs exactly zero.

    Args:
        model: a built functional or sequential model, nested or not. It is not changed.
        sparsity: fraction of the group's weights to remove, in [0, 1). 0.0 only wraps.
        layers: the group: None or "all", "conv", "fc", the name of a layer ("block/conv1" in
            a nested model; wildcards allowed), or several of these. The output layers are
            left out unless named exactly. Default: all, or those of `layer_sparsity`.
        exclude: layers to leave out, in the same words.
        allocation: "global" (one threshold for the group), "uniform" (the same fraction of
            each layer), "erk" (small layers denser), "lamp" (one threshold on LAMP scores),
            "stddev" (Han's quality x standard deviation), or "explicit" (`layer_sparsity`;
            also the default where that is given without a sparsity).
        layer_sparsity: layer name, or pattern ("conv*") -> sparsity, for "explicit". An exact
            name wins over patterns, the longest pattern over others.
        quality: threshold in standard deviations of a layer, for "stddev".
        target_bytes: instead of a sparsity: the largest model, under the allocation, of at
            most so many bytes. Counted without coding: 4 for each value of every variable,
            and for a layer of N weights that keeps k, ceil((32 k + N H(k / N)) / 8), its
            positions at their entropy H, or 4 N where that is less.
        target_macs: instead of a sparsity: the same for the multiply-accumulates of one
            sample, k x positions for a layer of k kept weights.
        granularity: what is removed as a whole, and counted: "weight"; "filter" (channels,
            neurons: with bias and batch norm); "blockRxC", or (R, C): R neighbours along the
            inputs x C along the outputs; "N:M", as "2:4": N of every M neighbours along the
            inputs are kept, in every layer, without a sparsity. A unit scores the mean of its
            weights' scores; a layer's last unit stays.
        criterion: what scores a weight: "magnitude", "random", "snip" (needs `data`), or
            "synflow".
        criterion_rounds: how often what is left is scored anew on the way to the target, at
            a density that falls geometrically; default 1, for "synflow" 100.
        data: (x, y) arrays, or batches of them, for criteria of the loss. Some batches will do.
        loss: function (y, outputs) -> losses or the name of a Keras loss, for the same;
            default that of the compiled model.
        seed: of criteria that draw random numbers.
        in_place: prune the given model, whose layers `prune` has wrapped before.

    Returns:
        A new model, not compiled; with `in_place` the given one. Weights that a pruned model
        lost before count towards the target and stay removed.

    Raises:
        UsageError: an argument, or a model, that cannot be used.
        TfpruneError: weights that are NaN.
    """
    check_model(model)
    if layer_sparsity is not None:
        layers = list(layer_sparsity) if layers is None else layers
        allocation = "explicit" if allocation == "global" and sparsity is None else allocation
    group = select(model, layers, exclude)
    request = Request(
        Target(sparsity=sparsity, layer_sparsity=layer_sparsity, quality=quality),
        target_bytes=target_bytes,
        target_macs=target_macs,
        allocation=allocation,
        granularity=granularity,
        criterion=criterion,
        criterion_rounds=criterion_rounds,
        data=data,
        loss=loss,
        seed=seed,
    )
    masks = choose_masks(model, group, request)
    unready = [p.path for p in group if p.mask is None]
    if not in_place:
        model = rebuild(model, _wrapping(model, set(unready)))
    elif unready:
        raise UsageError(
            "in_place=True needs layers that are wrapped already: model = prune(model, 0.0) "
            f"wraps them. Received: a model with these layers plain: {', '.join(unready)}"
        )
    set_masks(model, masks)
    return model


def strip(model: Any) -> Any:
    """The plain Keras model inside a pruned one.

    Args:
        model: a model from `prune`. It is not changed.

    Returns:
        A new model, not compiled, with the same layer names and weights, zeros included, and
        the user's own constraints; nothing in it needs tfprune. Training it further brings
        removed weights back.

    Raises:
        UsageError: no functional or sequential Keras model.
    """
    check_model(model)

    def unwrap(layer: Any) -> Any:
        config = layer.plain_config() if isinstance(layer, PrunableLayer) else layer.get_config()
        return type(unwrapped(layer)).from_config(config)

    return rebuild(model, unwrap)


def apply_masks(model: Any) -> Any:
    """Zeroes the removed weights again, for whatever writes to weights beside an optimizer.

    Optimizers do it by themselves after every step; call this after swapping in averaged
    weights, loading foreign ones, or assigning to variables. Gives the model back.
    """
    for wrapper in _wrappers(model).values():
        wrapper.apply_masks()
    return model


def layer_sparsities(model: Any) -> dict[str, float]:
    """Layer name -> fraction of its weights that are exactly zero.

    Of the layers that are wrapped or, in a plain model, have zeros; from the weights
    themselves, not from the masks.
    """
    found = prunables(model)
    masked = [prunable for prunable in found if prunable.mask is not None]
    sparsities = {}
    for prunable in masked or found:
        weights = tf.convert_to_tensor(prunable.variable).numpy()
        zeros = weights.size - np.count_nonzero(weights)
        if zeros or masked:
            sparsities[prunable.name] = zeros / weights.size
    return sparsities


def get_masks(model: Any) -> dict[str, np.ndarray]:
    """ "conv1/kernel" -> mask (True = kept), of kernels, biases and batch norms, in model order."""
    return {
        f"{path}/{attribute}": tf.convert_to_tensor(mask).numpy()
        for path, wrapper in _wrappers(model).items()
        for attribute, mask in wrapper.masks.items()
    }


def set_masks(model: Any, masks: Mapping[str, np.ndarray]) -> None:
    """Sets masks and zeroes the weights they remove.

    Args:
        model: a model from `prune`; `prune(model, 0.0)` wraps without removing.
        masks: as `get_masks` gives them, some or all. Those of biases and batch norms need
            not be given: units that lose their last weight lose those, too.

    Raises:
        UsageError: a key, shape or type that does not fit the model.
    """
    wrappers = _wrappers(model)
    known = {
        f"{path}/{attribute}": (path, attribute, tuple(mask.shape))
        for path, wrapper in wrappers.items()
        for attribute, mask in wrapper.masks.items()
    }
    given: dict[str, dict[str, np.ndarray]] = {path: {} for path in wrappers}
    for key, mask in masks.items():
        if key not in known:
            raise UsageError(
                f"the model has no mask called {key!r}; it has: {', '.join(known) or 'none'} "
                "(prune(model, 0.0) wraps layers)"
            )
        path, attribute, shape = known[key]
        if np.shape(mask) != shape or np.asarray(mask).dtype != bool:
            raise UsageError(
                f"mask {key!r} must be a bool array of shape {shape}. "
                f"Received: {np.asarray(mask).dtype} of shape {np.shape(mask)}"
            )
        given[path][attribute] = np.asarray(mask)
    for path, wrapper in wrappers.items():
        wrapper.set_masks(given[path])
    paths = {id(wrapper): path for path, wrapper in wrappers.items()}
    for norm, producer, alive in _normed(model):
        if id(norm) in paths and id(producer) in paths:
            own = given[paths[id(norm)]]
            norm.set_masks({name: alive & own.get(name, True) for name in norm.masks})


def _wrapping(model: Any, paths: set[str]) -> Callable[[Any], Any]:
    """Makes the function that clones a layer, wrapped where it is or shall be."""
    chosen = {
        id(layer)
        for path, layer in leaf_layers(model)
        if path in paths or isinstance(layer, PrunableLayer)
    }
    chosen |= {id(norm) for norm, producer, _ in _normed(model) if id(producer) in chosen}

    def wrap(layer: Any) -> Any:
        if isinstance(layer, PrunableLayer):
            return PrunableLayer(type(layer.layer).from_config(layer.plain_config()))
        clone = type(layer).from_config(layer.get_config())
        return PrunableLayer(clone) if id(layer) in chosen else clone

    return wrap


def _wrappers(model: Any) -> dict[str, PrunableLayer]:
    """Path -> wrapper, in model order."""
    return {path: w for path, w in leaf_layers(model) if isinstance(w, PrunableLayer)}


def _live_units_of(layer: Any) -> np.ndarray | None:
    """Which units of a wrapped or plain layer have a weight; None where that is not known."""
    inner = unwrapped(layer)
    kernels = kernels_of(inner)
    if len(kernels) != 1:
        return None
    shape = tuple(getattr(inner, kernels[0].attribute).shape)
    mask = layer.masks[kernels[0].attribute] if layer is not inner else np.ones(shape, bool)
    return live_units(inner, kernels[0], tf.convert_to_tensor(mask).numpy())


def _normed(model: Any) -> list[tuple[Any, Any, np.ndarray]]:
    """(batch norm, producer, live units) where the units of a layer are those of its follower."""
    found = []
    for norm, producer in followers(model):
        alive = _live_units_of(producer)
        if alive is not None and alive.shape == tuple(unwrapped(norm).gamma.shape):
            found.append((norm, producer, alive))
    return found
