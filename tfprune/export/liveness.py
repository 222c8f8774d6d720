"""Which units of a model matter to its outputs: those that have to be kept.

Found as a garbage collector finds objects: from the outputs backwards, everything that
something kept needs is kept, and what was never reached can go. That takes out at once
what would otherwise have to be taken out in turns, units that only dead units read and
units that read only dead ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend import tf
from tfprune.export.units import Call, Effect, Key, effect_of
from tfprune.pruning.graph import nested_models


@dataclass(frozen=True)
class Liveness:
    """What is known about the units of one graph.

    Attributes:
        live: tensor -> (units,) bool, False for what can be removed; each has a True.
        constants: tensor -> (units,) float64, the value of each constant unit, NaN for the
            others.
        calls: the calls of layers whose units are known, from the inputs to the outputs.
    """

    live: dict[Key, np.ndarray]
    constants: dict[Key, np.ndarray]
    calls: list[Call]


def find_live_units(model: Any) -> list[Liveness]:
    """The live units of a plain model and of each model nested in it.

    Args:
        model: a functional or sequential model without wrappers.

    Returns:
        One `Liveness` a graph, that of the model first. Nested models are barriers to the
        graph around them: the units that flow into and out of them are all kept.
    """
    uses = uses_of(model)
    return [_graph_liveness(owner, uses) for owner in graphs_of(model)]


def graphs_of(model: Any) -> list[Any]:
    """The model and the models nested in it, each once."""
    return list({id(owner): owner for owner in [model, *nested_models(model)]}.values())


def uses_of(model: Any) -> Counter[int]:
    """How often each layer is called, by its id, nested models included."""
    return Counter(id(_layer_of(node)) for owner in graphs_of(model) for node in _nodes(owner))


def calls_of(model: Any, uses: Counter[int]) -> Iterator[Call]:
    """Every call in the graph of a model, inputs first.

    Args:
        model: a functional or sequential model; the insides of nested ones are not entered.
        uses: `uses_of` the model that this one belongs to.
    """
    for node in _nodes(model):
        layer = _layer_of(node)
        # In tf_keras `input_tensors` lacks those passed by keyword, and an input layer is
        # its own input.
        inputs = [] if node.is_input else getattr(node, "keras_inputs", None)
        inputs = tf.nest.flatten(node.input_tensors) if inputs is None else inputs
        outputs = tf.nest.flatten(node.output_tensors)
        given = getattr(node, "arguments", None)
        args, options = (given.args, given.kwargs) if given else (node.call_args, node.call_kwargs)
        yield Call(
            layer=layer,
            inputs=tuple(_key(tensor) for tensor in inputs),
            outputs=tuple(_key(tensor) for tensor in outputs),
            input_shapes=tuple(tuple(tensor.shape) for tensor in inputs),
            output_shapes=tuple(tuple(tensor.shape) for tensor in outputs),
            plain=len(args) <= 1
            and not any(v is not None and v is not False for v in options.values()),
            shared=uses[id(layer)] > 1,
        )


def _nodes(model: Any) -> Iterator[Any]:
    # Keras 3 keeps the graph of a Sequential in a functional model inside it.
    by_depth = (getattr(model, "_functional", None) or model)._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        yield from by_depth[depth]


def _layer_of(node: Any) -> Any:
    return node.operation if hasattr(node, "operation") else node.layer


def _key(tensor: Any) -> Key:
    layer, node_index, tensor_index = tensor._keras_history
    return id(layer), node_index, tensor_index


def _graph_liveness(model: Any, uses: Counter[int]) -> Liveness:
    live: dict[Key, np.ndarray] = {}
    constants: dict[Key, np.ndarray] = {}
    known: list[tuple[Call, Effect]] = []
    for call in calls_of(model, uses):
        effect = effect_of(call, [constants[key] for key in call.inputs]) if call.inputs else None
        for key, shape in zip(call.outputs, call.output_shapes, strict=True):
            width = shape[-1] if len(shape) > 1 and shape[-1] is not None else 0
            live[key] = np.full(width, effect is None or effect.whole)
            constants[key] = np.full(width, np.nan) if effect is None else effect.constants
        if effect is not None:
            known.append((call, effect))
            continue
        for key in call.inputs:
            live[key][:] = True
    for tensor in model.outputs:
        live[_key(tensor)][:] = True

    _mark(live, known)
    # No layer can do without any unit. From the end, since that may keep one of those before.
    for units in reversed(live.values()):
        if units.size and not units.any():
            units[0] = True
            _mark(live, known)
    return Liveness(live, constants, [call for call, _ in known])


def _mark(live: dict[Key, np.ndarray], known: list[tuple[Call, Effect]]) -> None:
    """Marks what the live units need, and what is tied to them, until nothing is new."""
    while True:
        before = _count(live)
        for call, effect in reversed(known):
            outputs = live[call.outputs[0]]
            for number, ins, outs in effect.ties:
                inputs = live[call.inputs[number]]
                either = inputs[ins] | outputs[outs]
                inputs[ins[either]] = True
                outputs[outs[either]] = True
            if effect.needs is not None:
                live[call.inputs[0]] |= effect.needs[:, outputs].any(axis=1)
        if _count(live) == before:
            return


def _count(live: dict[Key, np.ndarray]) -> int:
    return sum(int(units.sum()) for units in live.values())
