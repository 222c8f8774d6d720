"""SynFlow's gradients: the flow through a network of all |w|, without data.

Source: Tanaka et al. 2020, *Pruning neural networks without any data by iteratively
conserving synaptic flow*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfprune.backend import IS_TF_KERAS, keras, tf
from tfprune.errors import TfpruneError, UsageError
from tfprune.pruning.graph import is_graph, leaf_layers, unwrapped
from tfprune.pruning.kernels import kernels_of
from tfprune.pruning.prunable import Prunable, prunables
from tfprune.pruning.rebuild import copy_graph

#: Layers of a network with positive weights that the linear one does without.
_IDENTITY = tuple(
    getattr(keras.layers, name)
    for name in ("Activation", "ELU", "LeakyReLU", "PReLU", "ReLU", "Rescaling", "Softmax")
)
_NORM = keras.layers.BatchNormalization


class _Identity(keras.layers.Layer):
    """Gives its input back, whatever the layer in whose place it stands is called with."""

    def call(self, inputs: Any, *arguments: Any, **options: Any) -> Any:
        return inputs


class FlowGradients:
    """(dR / d|w|) / R of each weight, R the sum of all outputs for an input of ones.

    The network is a copy in float64, made linear: each kernel is |w|, biases and the shifts
    and means of batch norms are 0, activations are left out. Then |w| times the gradient is
    the part of R that flows through the weight, and sums to 1 over any layer that all of R
    passes. (The paper's code keeps biases; its formula, as here, does not.)

    Args:
        model: a functional or sequential model. It is not changed.
        group: the variables whose gradients are wanted.

    Raises:
        UsageError: a model, or a layer, that has no linear counterpart.
    """

    def __init__(self, model: Any, group: list[Prunable]) -> None:
        check_flow(model)
        self._model = linear_copy(model)
        wanted = {p.name for p in group}
        self._variables = {p.name: p.variable for p in prunables(self._model) if p.name in wanted}
        self._magnitudes = {name: v.numpy() for name, v in self._variables.items()}
        self._ones = [tf.ones([1, *tensor.shape[1:]], tensor.dtype) for tensor in model.inputs]

    def __call__(self, masks: Mapping[str, np.ndarray | None]) -> dict[str, np.ndarray]:
        """Layer name -> gradient, float32, where the masks' weights are gone."""
        for name, variable in self._variables.items():
            mask, magnitudes = masks[name], self._magnitudes[name]
            variable.assign(magnitudes if mask is None else magnitudes * mask)
        watched = [v if IS_TF_KERAS else v.value for v in self._variables.values()]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in watched:
                tape.watch(variable)
            inputs = self._ones if len(self._ones) > 1 else self._ones[0]
            outputs = tf.nest.flatten(self._model(inputs, training=False))
            flow = tf.add_n([tf.reduce_sum(output) for output in outputs])
        if not (np.isfinite(flow) and flow > 0):
            raise TfpruneError(
                f"synflow finds no way through the network: its flow is {float(flow):g}, and "
                "scores are parts of it"
            )
        found = tape.gradient(flow, watched, unconnected_gradients="zero")
        return {
            name: (gradient / flow).numpy().astype(np.float32)
            for name, gradient in zip(self._variables, found, strict=True)
        }


def check_flow(model: Any) -> None:
    """Refuses a model, or a layer, that has no linear counterpart; see `FlowGradients`."""
    if not is_graph(model):
        raise UsageError(
            "synflow needs a functional or sequential model, of which it makes a linear copy. "
            f"Received: {type(model).__name__} {model.name!r}"
        )
    for _, layer in leaf_layers(model):
        inner = unwrapped(layer)
        known = [k for k in kernels_of(inner) if k.kind not in ("custom", "embedding")]
        if inner.weights and not known and not isinstance(inner, (*_IDENTITY, _NORM)):
            raise UsageError(
                "synflow is defined for networks of dense and convolution layers and batch norms. "
                f"Received: layer {layer.name!r} of type {type(inner).__name__}"
            )
    for tensor in model.inputs:
        kind = tf.as_dtype(tensor.dtype)
        if not kind.is_floating or None in tensor.shape[1:]:
            raise UsageError(
                "synflow feeds ones to the network, which needs inputs of real numbers and "
                f"known size. Received: {kind.name} of shape {tuple(tensor.shape)}"
            )


def linear_copy(model: Any) -> Any:
    """The model in float64 with |w| for each kernel, and without biases and activations."""
    clone, pairs = copy_graph(model, _linear)
    for outer, new in pairs:
        old = unwrapped(outer)
        if not new.weights:
            continue
        new.set_weights([_linear_weight(weight) for weight in old.weights])
    return clone


def _linear(layer: Any) -> Any:
    """The linear counterpart of a layer, not built."""
    inner = unwrapped(layer)
    if isinstance(inner, _IDENTITY):
        return _Identity(name=inner.name, dtype="float64")
    config = inner.get_config()
    changes = {"activation": "linear", "dtype": "float64"}
    return type(inner).from_config({**config, **{k: v for k, v in changes.items() if k in config}})


def _linear_weight(weight: Any) -> np.ndarray:
    """What stands for a weight: 0 for what is added, the magnitude of what multiplies."""
    name = weight.name.split("/")[-1].split(":")[0]
    array = np.abs(tf.convert_to_tensor(weight).numpy().astype(np.float64))
    return np.zeros_like(array) if name in ("bias", "beta", "moving_mean") else array
