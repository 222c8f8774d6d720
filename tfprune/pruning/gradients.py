"""The gradients that criteria are handed: of the training loss, and the choice between both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tfprune.backend import IS_TF_KERAS, keras, tf
from tfprune.errors import UsageError
from tfprune.pruning.flow import FlowGradients
from tfprune.pruning.graph import is_graph, unwrapped
from tfprune.pruning.prunable import Prunable, prunables
from tfprune.pruning.rebuild import clone_layer, rebuild

#: Samples a forward pass takes at once.
_BATCH = 128

Masks = Mapping[str, np.ndarray | None]
#: Masks of the group by layer name (None: all kept) -> gradient of each layer's weights.
Gradients = Callable[[Masks], dict[str, np.ndarray]]


def gradients_of(
    kind: str | None, model: Any, group: list[Prunable], data: Any, loss: Any
) -> Gradients | None:
    """What computes the gradients that a criterion needs; None where it needs none.

    Args:
        kind: None, "loss" or "flow", as a `Criterion` says.
        model: the model to prune. It is not changed.
        group: the variables whose gradients are wanted.
        data: of the loss; see `LossGradients`.
        loss: of the model; see `LossGradients`.

    Raises:
        UsageError: the loss without data, or a model that the gradient is not defined for.
    """
    if kind is None:
        return None
    return (
        FlowGradients(model, group) if kind == "flow" else LossGradients(model, group, data, loss)
    )


class LossGradients:
    """d L / d w of the mean loss over some data, the model as it is when it predicts.

    Dropout is off and batch norms use their moving averages, so that the gradient is a
    function of weights and data alone and nothing of the model changes.

    Args:
        model: any Keras model that can be called on the data.
        group: the variables whose gradients are wanted.
        data: (x, y), arrays of some batches together (structures of them for several inputs
            or outputs), or an iterable of such pairs, as a `tf.data.Dataset` with its batches.
        loss: a function (y, outputs) -> losses, the name of a Keras loss, or None for the one
            the model is compiled with.

    Raises:
        UsageError: no data, no loss.
    """

    def __init__(self, model: Any, group: list[Prunable], data: Any, loss: Any) -> None:
        if data is None:
            raise UsageError(
                "this criterion needs training data for its gradients: data=(x, y), or a "
                "tf.data.Dataset of batches. Received: data=None"
            )
        self._model = model
        self._group = group
        self._batches = list(_batches(data))
        self._loss = _loss_function(model, loss)
        self._copy: tuple[Any, list[Prunable]] | None = None

    def __call__(self, masks: Masks) -> dict[str, np.ndarray]:
        """Layer name -> gradient, float32."""
        model, group = self._masked(masks)
        variables = [_raw(p.variable) for p in group]
        totals = [np.zeros(p.variable.shape, np.float64) for p in group]
        samples = 0
        for inputs, targets, size in self._batches:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                for variable in variables:
                    tape.watch(variable)
                outputs = tf.nest.map_structure(
                    lambda t: tf.cast(t, tf.float32), model(inputs, training=False)
                )
                loss = tf.reduce_mean(self._loss(targets, outputs))
            found = tape.gradient(loss, variables, unconnected_gradients="zero")
            for total, gradient in zip(totals, found, strict=True):
                total += size * tf.convert_to_tensor(gradient).numpy()
            samples += size
        if not samples:
            raise UsageError("data of the criterion's loss has no samples")
        return {
            p.name: (total / samples).astype(np.float32)
            for p, total in zip(group, totals, strict=True)
        }

    def _masked(self, masks: Masks) -> tuple[Any, list[Prunable]]:
        """The model under the masks: itself where it has them, else a copy that is given them."""
        held = {p.name: p.mask for p in self._group}
        if self._copy is None and all(
            mask is None or (held[name] is not None and (_array(held[name]) == mask).all())
            for name, mask in masks.items()
        ):
            return self._model, self._group
        if self._copy is None:
            if not is_graph(self._model):
                raise UsageError(
                    "several rounds of a criterion of the loss need a functional or sequential "
                    f"model, of which a copy is scored. Received: {type(self._model).__name__}"
                )
            copy = rebuild(self._model, lambda layer: clone_layer(unwrapped(layer)))
            wanted = {p.name for p in self._group}
            self._copy = copy, [p for p in prunables(copy) if p.name in wanted]
        weights = {p.name: _array(p.variable) for p in self._group}
        for p in self._copy[1]:
            mask = masks[p.name]
            p.variable.assign(weights[p.name] if mask is None else weights[p.name] * mask)
        return self._copy


def _raw(variable: Any) -> Any:
    """The TensorFlow variable in a Keras one, which a tape can watch."""
    return variable if IS_TF_KERAS else variable.value


def _array(tensor: Any) -> np.ndarray:
    return tf.convert_to_tensor(tensor).numpy()


def _batches(data: Any) -> Iterator[tuple[Any, Any, int]]:
    """(x, y, samples) of each batch."""
    pairs: Iterable[Any] = [data] if isinstance(data, tuple) else data
    if not isinstance(pairs, Iterable):
        raise UsageError(
            f"data must be (x, y), or an iterable of such pairs. Received: {type(data).__name__}"
        )
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise UsageError(
                "data must be (x, y), or an iterable of such pairs. Received: "
                f"{type(pair).__name__} in it"
            )
        inputs, targets = pair
        sizes = {int(part.shape[0]) for part in tf.nest.flatten((inputs, targets))}
        if len(sizes) != 1:
            raise UsageError(
                f"x and y of the criterion's data must have equally many samples. Received: "
                f"{', '.join(map(str, sorted(sizes)))}"
            )
        (size,) = sizes
        for start in range(0, size, _BATCH):
            stop = min(size, start + _BATCH)
            parts = [tf.convert_to_tensor(a[start:stop]) for a in tf.nest.flatten(pair)]
            yield *tf.nest.pack_sequence_as(pair, parts), stop - start


def _loss_function(model: Any, loss: Any) -> Callable[[Any, Any], Any]:
    loss = getattr(model, "loss", None) if loss is None else loss
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError as error:
            raise UsageError(f"loss: Keras has none of that name. Received: {loss!r}") from error
    if not callable(loss):
        raise UsageError(
            "this criterion needs the loss: loss=function(y, outputs), the name of a Keras loss, "
            f"or a model compiled with one loss. Received: {loss!r}"
        )
    return loss
