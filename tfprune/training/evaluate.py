"""Accuracy and outputs of a model on a whole set of images; no image is dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfprune.backend import tf
from tfprune.data import Split
from tfprune.training.convolutions import small_maps_by_taps
from tfprune.training.inputs import Normalization

_BATCH = 500


def predictor(model: Any, normalization: Normalization) -> Callable[[np.ndarray], np.ndarray]:
    """A function from images (N, H, W, C) uint8 to outputs (N, K) float32.

    Compiled once for each size of a batch, of which a set of images has at most two.
    """

    @tf.function
    def outputs_of(images: tf.Tensor) -> tf.Tensor:
        with small_maps_by_taps(model):
            return tf.cast(model(normalization(images), training=False), tf.float32)

    compiled: dict[tuple[int, ...], Callable] = {}

    def predict(images: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(images), _BATCH):
            batch = tf.constant(images[start : start + _BATCH])
            shape = tuple(batch.shape)
            if shape not in compiled:
                # As a concrete function: TensorFlow warns of many new models as of retracing.
                compiled[shape] = outputs_of.get_concrete_function(batch)
            parts.append(compiled[shape](batch).numpy())
        return np.concatenate(parts)

    return predict


def accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of rows of `outputs` (N, K) whose largest entry is at `labels` (N,)."""
    return float(np.mean(outputs.argmax(axis=1) == labels))


def evaluator(model: Any, normalization: Normalization, split: Split) -> Callable[[], float]:
    """A function that gives the accuracy on a split as the model then stands."""
    predict = predictor(model, normalization)
    return lambda: accuracy(predict(split.images), split.labels)
