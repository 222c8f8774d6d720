"""Randomness as a function of (seed, stage, epoch, step), so that a resumed run repeats it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfprune.backend import IS_TF_KERAS, keras, tf


def use_resettable_dropout() -> None:
    """Makes tf_keras's random layers draw from generators whose state is a variable.

    Their default draws from stateful kernels, which no one can set back. Has to be called
    before the model is built; Keras 3 always works this way.
    """
    if IS_TF_KERAS:
        keras.backend.experimental.enable_tf_random_generator()


def stage_key(seed: int, stage: str) -> int:
    """A number in [0, 2**30) for a run's seed and the name of a stage."""
    return zlib.crc32(f"{stage}:{seed}".encode()) >> 2


def epoch_order(key: int, epoch: int, size: int) -> np.ndarray:
    """The order in which an epoch visits the training images: int32, shape (size,)."""
    return np.random.default_rng([key, epoch]).permutation(size).astype(np.int32)


def random_states(model: Any) -> list[tf.Variable]:
    """The state variables of the model's random layers, in layer order."""
    states = []
    for layer in model._flatten_layers():
        generator = getattr(getattr(layer, "_random_generator", None), "_generator", None)
        if generator is not None:  # tf_keras
            states.append(generator.state)
        seed_generator = getattr(layer, "seed_generator", None)
        if seed_generator is not None:  # Keras 3
            states.append(seed_generator.state)
    return states


def set_states(states: Sequence[tf.Variable], key: tf.Tensor, step: tf.Tensor) -> None:
    """Puts each random layer at its place for a training step (in the graph).

    A layer's state becomes (counter from `step`, key from stage and layer), so that what
    it draws depends on nothing that happened before.
    """
    for number, state in enumerate(states):
        if len(state.shape) == 1 and state.shape[0] == 2:  # Keras 3: (seed, counter)
            state.assign(tf.cast(tf.stack([key + number, step]), state.dtype))
        else:  # Philox in tf.random.Generator: (counter, counter, key)
            high = tf.cast(step, tf.int64) * 2**32
            zero = tf.zeros((), tf.int64)
            state.assign(tf.stack([high, zero, tf.cast(key + number, tf.int64)]))
