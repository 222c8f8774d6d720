"""Distillation: the pruned network learns what the unpruned one says, beside the labels.

loss = (1 - w) CE + w T^2 KL(q || p), q = softmax(y / T), p = softmax(z / T)

with the logits y of the teacher and z of the student, the temperature T and the weight w; KL is
the mean over the batch of sum_k q_k log(q_k / p_k). T^2 keeps the size of its gradients. The
teacher sees the same augmented images, as in inference: no dropout, batch norms at their moving
statistics. It costs its forward pass, about a third of a step.

Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfprune.backend import keras, tf
from tfprune.training.objective import gives_probabilities
from tfprune.training.resizing import forward_at


class Teacher:
    """A trained classifier, from which another one of the same classes learns.

    Attributes:
        model: the classifier; it does not change.
        weight: w, from 0 (the labels alone) to 1 (the teacher alone).
        temperature: T, at least 1; the higher, the more the small probabilities count.
    """

    def __init__(self, model: Any, weight: float, temperature: float) -> None:
        self.model = model
        self.weight = weight
        self.temperature = temperature

    def lesson(
        self, student: Any, side: int = 0, precision: str = "float32"
    ) -> Callable[..., tf.Tensor]:
        """What computes the loss of a student in the graph of a step.

        Args:
            student: the model that learns.
            side: of the images, as `forward_at` takes it.
            precision: what the step multiplies in, likewise.

        Returns:
            A function of the loss CE of the labels (scalar), the model inputs (B, H, W, C) and
            the outputs of the student (B, K); it gives the loss above, a float32 scalar.
        """
        forward = forward_at(self.model, side, precision, training=False)
        of_teacher, of_student = _logits_of(self.model), _logits_of(student)
        weight, temperature = self.weight, self.temperature

        def loss(of_labels: tf.Tensor, inputs: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
            told = tf.nn.log_softmax(of_teacher(forward(inputs)) / temperature)
            said = tf.nn.log_softmax(of_student(outputs) / temperature)
            divergence = tf.reduce_sum(tf.exp(told) * (told - said), axis=-1)
            lesson = temperature**2 * tf.reduce_mean(divergence)
            return (1.0 - weight) * of_labels + weight * lesson

        return loss


def _logits_of(model: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """What gives logits, up to a number an image, from a classifier's outputs (B, K)."""
    if gives_probabilities(model):
        least = keras.backend.epsilon()
        return lambda outputs: tf.math.log(tf.maximum(tf.cast(outputs, tf.float32), least))
    return lambda outputs: tf.cast(outputs, tf.float32)
