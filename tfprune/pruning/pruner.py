"""prune, strip and what stands between them: the masks of a whole model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tfprune.backend import tf
from tfprune.errors import UsageError
from tfprune.pruning.allocation import Target
from tfprune.pruning.choice import Request, check_request, choose_masks
from tfprune.pruning.constraint import apply_mask, attach_mask, detach_mask, mask_of
from tfprune.pruning.graph import has_wrappers, is_graph, leaf_layers, unwrapped
from tfprune.pruning.kernels import maskable
from tfprune.pruning.loading import check_built, check_model, load_model
from tfprune.pruning.prunable import Part, Prunable, model_parts, prunables, select
from tfprune.pruning.rebuild import clone_layer, rebuild
from tfprune.pruning.units import normed, set_layer_masks
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
        in_place: prune the given model itself: one whose layers `prune` has wrapped before, or
            a subclassed one, whose variables get masks that live as long as it does.

    Returns:
        A new model, not compiled; with `in_place` the given one. Weights that a pruned model
        lost before count towards the target and stay removed.

    Raises:
        UsageError: an argument, or a model, that cannot be used.
        TfpruneError: weights that are NaN.
    """
    if in_place:
        check_built(model)
    else:
        check_model(model, "prune it with in_place=True, which changes it")
    group, request = _requested(
        model,
        sparsity,
        layers=layers,
        exclude=exclude,
        allocation=allocation,
        layer_sparsity=layer_sparsity,
        quality=quality,
        target_bytes=target_bytes,
        target_macs=target_macs,
        granularity=granularity,
        criterion=criterion,
        criterion_rounds=criterion_rounds,
        data=data,
        loss=loss,
        seed=seed,
    )
    masks = choose_masks(model, group, request)
    unready = [p for p in group if p.mask is None]
    if not in_place:
        model = rebuild(model, _wrapping(model, {p.leaf for p in unready}))
    elif not is_graph(model):
        _attach(model, unready)
    elif unready:
        raise UsageError(
            "in_place=True needs layers that are wrapped already: model = prune(model, 0.0) "
            "wraps them. Received: a model with these layers plain: "
            f"{', '.join(p.path for p in unready)}"
        )
    set_masks(model, masks)
    return model


def check_prune(model: Any, sparsity: float | None = None, **options: Any) -> None:
    """Refuses what `prune`, not in place, would refuse whatever the weights are worth.

    Takes a small part of its time and changes nothing. That a model of other weights and the
    same shapes can be pruned so is then known, but for weights that are NaN and, in blocks that
    do not tile a kernel, for a budget close to the smallest model.

    Args:
        model: as `prune` takes it.
        sparsity: the same.
        **options: those of `prune` but for `in_place`.

    Raises:
        UsageError: an argument, or a model, that cannot be used.
    """
    check_model(model)
    check_request(model, *_requested(model, sparsity, **options))


def _requested(
    model: Any,
    sparsity: float | None = None,
    *,
    layers: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] = (),
    allocation: str = "global",
    layer_sparsity: Mapping[str, float] | None = None,
    quality: float | None = None,
    **others: Any,
) -> tuple[list[Prunable], Request]:
    """The group, and what is asked for it, by the arguments of `prune`."""
    if layer_sparsity is not None:
        layers = list(layer_sparsity) if layers is None else layers
        allocation = "explicit" if allocation == "global" and sparsity is None else allocation
    target = Target(sparsity=sparsity, layer_sparsity=layer_sparsity, quality=quality)
    return select(model, layers, exclude), Request(target, allocation=allocation, **others)


def strip(model: Any, *, in_place: bool = False) -> Any:
    """The plain Keras model inside a pruned one.

    Args:
        model: a model from `prune`. It is not changed.
        in_place: take the masks off the given model itself: a subclassed one, which cannot be
            copied.

    Returns:
        A new model, not compiled, with the same layer names and weights, zeros included, and
        the user's own constraints; nothing in it needs tfprune. With `in_place` the given
        one. Training it further brings removed weights back.

    Raises:
        UsageError: no functional or sequential Keras model, or with `in_place` one.
    """
    if in_place:
        return _strip_in_place(model)
    check_model(model, "strip it with in_place=True, which changes it")
    return rebuild(model, lambda layer: clone_layer(unwrapped(layer)))


def _strip_in_place(model: Any) -> Any:
    check_built(model)
    if is_graph(model) or has_wrappers(model):
        raise UsageError(
            "in_place=True strips subclassed models that prune(model, in_place=True) pruned; "
            f"strip(model) gives a copy of any other. Received: {model.name!r}"
        )
    apply_masks(model)
    for _, _, variable in _masked(model).values():
        detach_mask(variable)
    model.train_function = None
    return model


def apply_masks(model: Any) -> Any:
    """Zeroes the removed weights again, for whatever writes to weights beside an optimizer.

    Optimizers do it by themselves after every step; call this after swapping in averaged
    weights, loading foreign ones, or assigning to variables. Gives the model back.
    """
    for _, _, variable in _masked(model).values():
        apply_mask(variable)
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
        key: tf.convert_to_tensor(mask_of(variable)).numpy()
        for key, (_, _, variable) in _masked(model).items()
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
    known = _masked(model)
    given: dict[str, dict[str, np.ndarray]] = {part.path: {} for part, _, _ in known.values()}
    for key, mask in masks.items():
        if key not in known:
            raise UsageError(
                f"the model has no mask called {key!r}; it has: {', '.join(known) or 'none'} "
                "(prune(model, 0.0) wraps layers)"
            )
        part, attribute, variable = known[key]
        if np.shape(mask) != tuple(variable.shape) or np.asarray(mask).dtype != bool:
            raise UsageError(
                f"mask {key!r} must be a bool array of shape {tuple(variable.shape)}. "
                f"Received: {np.asarray(mask).dtype} of shape {np.shape(mask)}"
            )
        given[part.path][attribute] = np.asarray(mask)
    layers = {id(part.layer): part for part, _, _ in known.values()}
    for part in layers.values():
        set_layer_masks(part.layer, given[part.path])
    for norm, producer, alive in normed(model):
        wrapped = layers.get(id(unwrapped(norm)))
        if wrapped is not None and id(unwrapped(producer)) in layers:
            own = given[wrapped.path]
            names = maskable(wrapped.layer)
            set_layer_masks(wrapped.layer, {name: alive & own.get(name, True) for name in names})


def _wrapping(model: Any, paths: set[str]) -> Callable[[Any], Any]:
    """Makes the function that clones a layer, wrapped where it is or shall be."""
    chosen = {
        id(layer)
        for path, layer in leaf_layers(model)
        if path in paths or isinstance(layer, PrunableLayer)
    }
    chosen |= {id(norm) for norm, producer, _ in normed(model) if id(producer) in chosen}

    def wrap(layer: Any) -> Any:
        clone = clone_layer(unwrapped(layer))
        return PrunableLayer(clone) if id(layer) in chosen else clone

    return wrap


def _attach(model: Any, group: list[Prunable]) -> None:
    """Gives masks to the layers of a subclassed model, which stay where they are."""
    for layer in {id(p.layer): p.layer for p in group}.values():
        for name, variable in maskable(layer).items():
            if mask_of(variable) is None:
                ones = np.ones(variable.shape, bool)
                attach_mask(variable, tf.Variable(ones, trainable=False, name=f"{name}_mask"))
    # What was traced before knows nothing of them.
    model.train_function = None


def _masked(model: Any) -> dict[str, tuple[Part, str, Any]]:
    """Key of each mask -> (layer, attribute, variable), in model order."""
    return {
        f"{part.path}/{name}": (part, name, variable)
        for part in model_parts(model)
        for name, variable in maskable(part.layer).items()
        if mask_of(variable) is not None
    }
