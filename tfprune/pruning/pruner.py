"""prune, strip and what stands between them: the masks of a whole model."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from tfprune.backend import IS_TF_KERAS, keras, tf
from tfprune.errors import TfpruneError, UsageError
from tfprune.pruning.allocation import Target, allocate
from tfprune.pruning.criteria import score
from tfprune.pruning.masks import keep_largest
from tfprune.pruning.prunable import (
    Prunable,
    describe,
    is_graph,
    kernels_of,
    leaf_layers,
    live_units,
    origin,
    prunables,
    select,
    unwrapped,
)
from tfprune.pruning.wrapper import PrunableLayer, select_kept

_THIS_KERAS, _OTHER_KERAS = ("tf_keras", "Keras 3") if IS_TF_KERAS else ("Keras 3", "tf_keras")
_SWITCH = (
    "unset TF_USE_LEGACY_KERAS" if IS_TF_KERAS else "set TF_USE_LEGACY_KERAS=1"
) + " before TensorFlow is imported"
# What Keras, h5py and zipfile raise on files that are not what they should be.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def prune(
    model: Any,
    sparsity: float | None = None,
    *,
    layers: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] = (),
    allocation: str = "global",
    layer_sparsity: Mapping[str, float] | None = None,
    quality: float | None = None,
    criterion: str = "magnitude",
    seed: int = 0,
    in_place: bool = False,
) -> Any:
    """Removes the least important weights of a model; they stay zero while it trains.

    A group of N weights at sparsity s loses exactly floor(s N + 0.5). A unit (filter, channel,
    neuron) that loses its last weight loses its bias, and the scale and shift of a batch
    normalization that alone follows it, so that it outputs exactly zero.

    Args:
        model: a built functional or sequential model, nested or not. It is not changed.
        sparsity: fraction of the group's weights to remove, in [0, 1). 0.0 only wraps.
        layers: the group: None or "all", "conv", "fc", the name of a layer ("block/conv1" in
            a nested model; wildcards allowed), or several of these. The output layers are
            left out unless named exactly. Default: all, or those of `layer_sparsity`.
        exclude: layers to leave out, in the same words.
        allocation: "global" (one threshold for the group), "uniform" (the same fraction of
            each layer), "explicit" (`layer_sparsity`; also the default where that is given
            without a sparsity), or "stddev" (Han's quality x standard deviation).
        layer_sparsity: layer name -> sparsity, for "explicit".
        quality: threshold in standard deviations of a layer, for "stddev".
        criterion: what scores a weight: "magnitude" or "random".
        seed: of criteria that draw random numbers.
        in_place: prune the given model, whose layers `prune` has wrapped before.

    Returns:
        A new model, not compiled; with `in_place` the given one. Weights that a pruned model
        lost before count towards the target and stay removed.

    Raises:
        UsageError: an argument, or a model, that cannot be used.
        TfpruneError: weights that are NaN.
    """
    _check_model(model)
    if layer_sparsity is not None:
        layers = list(layer_sparsity) if layers is None else layers
        allocation = "explicit" if allocation == "global" and sparsity is None else allocation
    group = select(model, layers, exclude)
    target = Target(sparsity=sparsity, layer_sparsity=layer_sparsity, quality=quality)
    masks = _choose(group, allocation, target, criterion, np.random.default_rng(seed))
    unready = [p.path for p in group if p.mask is None]
    if not in_place:
        model = _rebuild(model, _wrapping(model, set(unready)))
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
    _check_model(model)

    def unwrap(layer: Any) -> Any:
        config = layer.plain_config() if isinstance(layer, PrunableLayer) else layer.get_config()
        return type(unwrapped(layer)).from_config(config)

    return _rebuild(model, unwrap)


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
    wrapped = {p.name for p in prunables(model) if p.mask is not None}
    return {i.name: i.sparsity for i in describe(model) if i.pruned or i.name in wrapped}


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
    for norm, producer, alive in _followers(model):
        if id(norm) in paths and id(producer) in paths:
            own = given[paths[id(norm)]]
            norm.set_masks({name: alive & own.get(name, True) for name in norm.masks})


def load_model(path: str | os.PathLike[str], **kwargs: Any) -> Any:
    """Keras's `load_model`, with tfprune's classes known and errors that name their cause.

    Args:
        path: a `.keras` or `.h5` file, or with tf_keras a SavedModel folder.
        **kwargs: passed on (`custom_objects`, `compile`, ...).

    Raises:
        TfpruneError: the file is missing, damaged, of the other Keras, or needs classes that
            were not given.
    """
    file = Path(path)
    if not file.exists():
        raise TfpruneError(f"there is no model at {str(file)!r}")
    if file.is_dir() and not IS_TF_KERAS:
        raise TfpruneError(
            f"{str(file)!r} is a SavedModel folder, which Keras 3 does not read: {_SWITCH} "
            "for tf_keras, or save the model as .keras"
        )
    try:
        if zipfile.is_zipfile(file):
            _check_version(file)
        return keras.models.load_model(path, **kwargs)
    except _UNREADABLE as error:
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise TfpruneError(f"cannot load a model from {str(file)!r}: {cause}") from error


def _check_version(file: Path) -> None:
    """Refuses a `.keras` file of the other Keras, whose format differs."""
    with zipfile.ZipFile(file) as archive:
        version = json.loads(archive.read("metadata.json"))["keras_version"]
    if (int(version.split(".")[0]) < 3) != IS_TF_KERAS:
        raise TfpruneError(
            f"{str(file)!r} was written by {_OTHER_KERAS} ({version}) and TensorFlow works with "
            f"{_THIS_KERAS} here: {_SWITCH}"
        )


def _check_model(model: Any) -> None:
    """Raises unless it is a built functional or sequential model of this Keras."""
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if not isinstance(model, keras.Model):
        bases = {base.__module__.split(".")[0] for base in type(model).__mro__}
        if bases & {"keras", "tf_keras"}:
            raise UsageError(
                f"the model was made by {_OTHER_KERAS} and TensorFlow works with {_THIS_KERAS} "
                f"here: make it with tf.keras, or {_SWITCH}. Received: {kind}"
            )
        raise UsageError(f"model must be a Keras model. Received: {kind}")
    if not model.built:
        raise UsageError(
            "the model is not built yet and has no weights: call model.build(input_shape), or "
            f"call it on data, first. Received: {model.name!r} of type {kind}"
        )
    if not is_graph(model):
        raise UsageError(
            "the layers of a subclassed model cannot be replaced from outside: make it with "
            "keras.Sequential or keras.Model(inputs, outputs), or build it from "
            f"tfprune.pruning.wrapper.PrunableLayer(layer). Received: {model.name!r} of type {kind}"
        )


def _choose(
    group: list[Prunable],
    allocation: str,
    target: Target,
    criterion: str,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """The masks of a group, by key. What was removed before scores lowest."""
    weights = {p.name: tf.convert_to_tensor(p.variable).numpy() for p in group}
    scores = {name: score(criterion, array, rng) for name, array in weights.items()}
    lost = {}
    for p in group:
        gone = np.zeros((), bool) if p.mask is None else ~tf.convert_to_tensor(p.mask).numpy()
        lost[p.name] = int(gone.sum())
        scores[p.name] = np.where(gone, -np.inf, scores[p.name]) if gone.any() else scores[p.name]
    decided = allocate(allocation, scores, weights, target)
    if decided.protected:
        logging.warning(
            "the target would have removed the last weight of these layers; they keep one, and "
            "others went instead: %s",
            ", ".join(decided.protected),
        )
    for name, count in decided.removed.items():
        if count < lost[name]:
            raise UsageError(
                f"layer {name!r} has lost {lost[name]} of its {weights[name].size} weights before, "
                f"and removed stays removed. Received: a target that removes {count} of them"
            )
    return {p.key: keep_largest(scores[p.name], decided.removed[p.name]) for p in group}


def _wrapping(model: Any, paths: set[str]) -> Callable[[Any], Any]:
    """Makes the function that clones a layer, wrapped where it is or shall be."""
    chosen = {
        id(layer)
        for path, layer in leaf_layers(model)
        if path in paths or isinstance(layer, PrunableLayer)
    }
    chosen |= {id(norm) for norm, producer, _ in _followers(model) if id(producer) in chosen}

    def wrap(layer: Any) -> Any:
        if isinstance(layer, PrunableLayer):
            return PrunableLayer(type(layer.layer).from_config(layer.plain_config()))
        clone = type(layer).from_config(layer.get_config())
        return PrunableLayer(clone) if id(layer) in chosen else clone

    return wrap


def _rebuild(model: Any, make_layer: Callable[[Any], Any]) -> Any:
    """A copy of the model from `make_layer(layer)` for each layer, with all weights and masks."""
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
    for old, new in pairs.values():
        # Operations of Keras 3 (x + y) are no layers and have no weights.
        if is_graph(old) or not getattr(old, "weights", []):
            continue
        unwrapped(new).set_weights(unwrapped(old).get_weights())
        if isinstance(old, PrunableLayer):
            masks = {name: tf.convert_to_tensor(mask).numpy() for name, mask in old.masks.items()}
            # Exactly zero in the copy, whatever was written to the original.
            for name, mask in masks.items():
                variable = getattr(unwrapped(new), name)
                variable.assign(select_kept(mask, variable))
            if isinstance(new, PrunableLayer):
                new.set_masks(masks)
    return clone


@contextlib.contextmanager
def _not_compiled(model: Any) -> Iterator[None]:
    """Keeps Keras 3 from copying losses and optimizers, which need not be serializable."""
    owners = [m for m in [model, *_nested(model)] if not IS_TF_KERAS and m.compiled]
    try:
        for owner in owners:
            owner.compiled = False
        yield
    finally:
        for owner in owners:
            owner.compiled = True


def _nested(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if is_graph(layer):
            yield layer
            yield from _nested(layer)


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


def _followers(model: Any) -> list[tuple[Any, Any, np.ndarray]]:
    """(batch norm, producer, live units): it takes all the layer gives, and nothing else does.

    Where the graph leaves a doubt (a shared layer, an output, another consumer), or the
    batch norm has no scale to mask, it is left out: a batch norm kept is a unit kept, no error.
    """
    pairs = []
    connections = _connections(model)
    for producer, norm in connections:
        inner = unwrapped(norm)
        if not isinstance(inner, keras.layers.BatchNormalization) or inner.gamma is None:
            continue
        givers = [p for p, c in connections if c is norm]
        takers = [c for p, c in connections if p is producer]
        if len(givers) != 1 or len(takers) != 1 or not kernels_of(unwrapped(producer)):
            continue
        alive = _live_units_of(producer)
        if alive is not None and alive.shape == tuple(inner.gamma.shape):
            pairs.append((norm, producer, alive))
    return pairs


def _connections(model: Any) -> list[tuple[Any, Any]]:
    """(producer, consumer) of each call, nested models included; None consumes the outputs."""
    found: list[tuple[Any, Any]] = []
    for owner in [model, *_nested(model)]:
        found.extend((origin(tensor)[0], None) for tensor in owner.outputs)
        pending, seen = list(owner.outputs), set()
        while pending:
            tensor = pending.pop()
            call = (id(tensor._keras_history[0]), tensor._keras_history[1])
            if call in seen:
                continue
            seen.add(call)
            consumer, inputs = origin(tensor)
            found.extend((origin(t)[0], consumer) for t in inputs)
            pending.extend(inputs)
    return found
