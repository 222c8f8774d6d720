"""Walks over a model: its layers, the layers inside them, and what feeds what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tfprune.backend import keras, tf


def is_graph(layer: Any) -> bool:
    """Whether it is a built functional or sequential model, whose layers are all known."""
    return isinstance(layer, keras.Model) and bool(getattr(layer, "outputs", None))


def unwrapped(layer: Any) -> Any:
    """The layer inside a `PrunableLayer`; any other layer itself."""
    return layer.layer if getattr(layer, "is_tfprune_wrapper", False) else layer


def has_wrappers(model: Any) -> bool:
    """Whether there is a `PrunableLayer` in the model, at any depth."""
    return any(unwrapped(layer) is not layer for layer in model._flatten_layers())


def leaf_layers(model: Any) -> list[tuple[str, Any]]:
    """(path, layer) of each layer in model order, nested models entered, each layer once.

    A subclassed model, whose graph nobody knows, is one layer, with the empty path.
    """
    if not is_graph(model):
        return [("", model)]
    found: dict[int, tuple[str, Any]] = {}
    for layer in model.layers:
        inner = leaf_layers(layer) if is_graph(layer) else []
        nested = [(f"{layer.name}/{path}", leaf) for path, leaf in inner]
        for path, leaf in nested or [(layer.name, layer)]:
            found.setdefault(id(leaf), (path, leaf))
    return list(found.values())


def parts(layer: Any) -> list[tuple[str, Any]]:
    """(path, layer) of a layer itself, with the empty path, and of the layers inside it.

    Those are named by the attributes that hold them, which do not change from run to run as
    automatic names do: "cell" of an LSTM, "query_dense" of an attention (`_query_dense`),
    "blocks/0/fc1" of your own layer; those of a functional model in it as in `leaf_layers`.
    """
    found: dict[int, tuple[str, Any]] = {}

    def walk(path: str, outer: Any) -> None:
        layer = unwrapped(outer)
        if id(layer) in found:
            return
        found[id(layer)] = (path, layer)
        inside = leaf_layers(layer) if is_graph(layer) else _held(layer)
        for name, held in inside:
            walk(f"{path}/{name}".strip("/"), held)

    walk("", layer)
    return list(found.values())


def _held(layer: Any) -> list[tuple[str, Any]]:
    """(name, layer) of the layers that a layer holds, in the order of its attributes."""
    # Of both Kerases the only door: what a layer tracks, wherever it holds it.
    tracked = list(layer._flatten_layers(include_self=False, recursive=False))
    unnamed = {id(held): held for held in tracked}
    if not unnamed:
        return []
    named: list[tuple[str, Any]] = []

    def search(name: str, value: Any) -> None:
        if id(value) in unnamed:
            named.append((name, unnamed.pop(id(value))))
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if isinstance(key, (str, int)):  # a variable as a key would be printed whole
                    search(f"{name}/{key}", item)
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                search(f"{name}/{index}", item)

    for attribute, value in vars(layer).items():
        # Keras's own books, which list every layer that an attribute holds.
        if attribute != "_layers" and not attribute.startswith("_self_"):
            search(attribute.strip("_"), value)
    return named + [(held.name, held) for held in unnamed.values()]


def origin(tensor: Any) -> tuple[Any, list[Any]]:
    """The call that a symbolic tensor comes from: the layer, and the tensors it was given."""
    layer, node_index = tensor._keras_history[:2]
    inputs = tf.nest.flatten(layer._inbound_nodes[node_index].input_tensors)
    # An input layer of tf_keras is its own input.
    return layer, [t for t in inputs if t._keras_history[0] is not layer or t is not tensor]


def output_layers(model: Any) -> list[Any]:
    """The last layers with a kernel on the way to each output, out of their wrappers.

    A weight of two or more axes makes a kernel: activations and batch norms are passed. Of a
    subclassed model nobody knows them: none.
    """
    found: list[Any] = []
    pending = list(model.outputs) if is_graph(model) else []
    seen: set[int] = set()
    while pending:
        tensor = pending.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        outer, inputs = origin(tensor)
        layer = unwrapped(outer)
        nested = output_layers(layer) if is_graph(layer) else []
        if nested:
            found.extend(nested)
        elif any(len(weight.shape) > 1 for weight in getattr(layer, "weights", [])):
            found.append(layer)
        else:
            pending.extend(inputs)
    return found


def nested_models(model: Any) -> Iterator[Any]:
    """The functional and sequential models in such a model, at any depth."""
    for layer in model.layers:
        if is_graph(layer):
            yield layer
            yield from nested_models(layer)


def connections(model: Any) -> list[tuple[Any, Any]]:
    """(producer, consumer) of each call, nested models included; None consumes the outputs."""
    found: list[tuple[Any, Any]] = []
    for owner in [model, *nested_models(model)] if is_graph(model) else []:
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


def followers(model: Any) -> list[tuple[Any, Any]]:
    """(batch norm, producer): it takes all the layer gives, and nothing else does.

    Where the graph leaves a doubt (a shared layer, an output, another consumer), or the
    batch norm has no scale to mask, it is left out: a batch norm kept is a unit kept, no error.
    """
    pairs = []
    edges = connections(model)
    for producer, norm in edges:
        inner = unwrapped(norm)
        if not isinstance(inner, keras.layers.BatchNormalization) or inner.gamma is None:
            continue
        givers = [p for p, c in edges if c is norm]
        takers = [c for p, c in edges if p is producer]
        if len(givers) == len(takers) == 1:
            pairs.append((norm, producer))
    return pairs
