"""Walks over a functional or sequential model: its layers, and what feeds what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfprune.backend import keras, tf


def is_graph(layer: Any) -> bool:
    """Whether it is a built functional or sequential model, whose layers are all known."""
    return isinstance(layer, keras.Model) and bool(getattr(layer, "outputs", None))


def unwrapped(layer: Any) -> Any:
    """The layer inside a `PrunableLayer`; any other layer itself."""
    return layer.layer if getattr(layer, "is_tfprune_wrapper", False) else layer


def leaf_layers(model: Any) -> list[tuple[str, Any]]:
    """(path, layer) of each layer in model order, nested models entered, each layer once."""
    found: dict[int, tuple[str, Any]] = {}
    for layer in model.layers:
        inner = leaf_layers(layer) if is_graph(layer) else []
        nested = [(f"{layer.name}/{path}", leaf) for path, leaf in inner]
        for path, leaf in nested or [(layer.name, layer)]:
            found.setdefault(id(leaf), (path, leaf))
    return list(found.values())


def origin(tensor: Any) -> tuple[Any, list[Any]]:
    """The call that a symbolic tensor comes from: the layer, and the tensors it was given."""
    layer, node_index = tensor._keras_history[:2]
    inputs = tf.nest.flatten(layer._inbound_nodes[node_index].input_tensors)
    # An input layer of tf_keras is its own input.
    return layer, [t for t in inputs if t._keras_history[0] is not layer or t is not tensor]


def output_layers(model: Any) -> list[Any]:
    """The last layers with a kernel on the way to each output, out of their wrappers.

    A weight of two or more axes makes a kernel: activations and batch norms are passed.
    """
    found: list[Any] = []
    pending = list(model.outputs)
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
    """The models inside a model, at any depth."""
    for layer in model.layers:
        if is_graph(layer):
            yield layer
            yield from nested_models(layer)


def connections(model: Any) -> list[tuple[Any, Any]]:
    """(producer, consumer) of each call, nested models included; None consumes the outputs."""
    found: list[tuple[Any, Any]] = []
    for owner in [model, *nested_models(model)]:
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
