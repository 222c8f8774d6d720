"""What training minimises and what counts as right: cross-entropy and arg max."""

from __future__ import annotations

from typing import Any

from tfprune.backend import keras, tf
from tfprune.errors import TfpruneError
from tfprune.pruning.macs import positions


def gives_probabilities(model: Any) -> bool:
    """Whether a classifier ends in a softmax (else its outputs are taken for logits)."""
    last = model
    while getattr(last, "layers", None):
        last = last.layers[-1]
    last = getattr(last, "layer", last)  # our wrapper's inner layer
    activation = getattr(last, "activation", None)
    return isinstance(last, keras.layers.Softmax) or activation is keras.activations.softmax


def check_fit(model: Any, image_shape: tuple[int, ...], classes: int) -> None:
    """Refuses a model that cannot classify the data set.

    Raises:
        TfpruneError: several inputs or outputs, or shapes that do not fit, or images of open
            size, here or in a nested model.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise TfpruneError(
            "an image classifier with one input and one output is needed; the model has "
            f"{len(model.inputs)} and {len(model.outputs)}"
        )
    taken, given = tuple(model.inputs[0].shape)[1:], tuple(image_shape)
    fits = len(taken) == len(given) and all(
        t in (None, g) for t, g in zip(taken, given, strict=True)
    )
    if not fits:
        raise TfpruneError(
            f"the model takes images of shape {taken}, the data set has {given}; "
            "--image_size resizes square images"
        )
    if None in taken:  # sides of --resize, and multiply-accumulates, are those of one size
        raise TfpruneError(
            f"the model takes images of shape {taken}, and their size has to be known: build it "
            f"anew on keras.Input({given}), then new.set_weights(model.get_weights()) and new.save"
        )
    positions(model)  # counted in the end: there the sizes inside nested models have to be known
    if tuple(model.outputs[0].shape)[1:] != (classes,):
        raise TfpruneError(
            f"the model's output has shape {tuple(model.outputs[0].shape)[1:]}, "
            f"the data set {classes} classes: {(classes,)} is needed"
        )


class Objective:
    """Mean cross-entropy with label smoothing s.

    loss = -sum_k t_k log p_k, t_k = (1 - s) [k = label] + s / K, averaged over the batch.
    """

    def __init__(self, model: Any, label_smoothing: float = 0.0) -> None:
        self._from_logits = not gives_probabilities(model)
        self._smoothing = label_smoothing
        self._classes = int(model.outputs[0].shape[-1])

    def loss(self, labels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Scalar float32 from labels (B,) and outputs (B, K)."""
        outputs = tf.cast(outputs, tf.float32)
        targets = tf.one_hot(
            labels,
            self._classes,
            on_value=1.0 - self._smoothing + self._smoothing / self._classes,
            off_value=self._smoothing / self._classes,
        )
        losses = keras.losses.categorical_crossentropy(
            targets, outputs, from_logits=self._from_logits
        )
        return tf.reduce_mean(losses)

    @staticmethod
    def correct(labels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """How many of a batch have their largest output at the label: int32 scalar."""
        predicted = tf.argmax(outputs, axis=-1, output_type=tf.int32)
        return tf.reduce_sum(tf.cast(predicted == labels, tf.int32))
