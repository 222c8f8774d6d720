"""Models with everything an audit can confuse, and their masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.pruning.pruner import get_masks, prune, strip

layers = keras.layers


def build_tangled(name: str = "tangled") -> keras.Model:
    """Kernels of equal shape, names that number each other, and a nested model."""
    keras.utils.set_random_seed(7)
    inputs = keras.Input((8, 8, 2), name="images")
    x = layers.Conv2D(2, 3, padding="same", activation="relu", name="conv")(inputs)
    x = layers.Conv2D(2, 3, padding="same", activation="relu", name="conv_1")(x)
    block_inputs = keras.Input((8, 8, 2), name="block_images")
    y = layers.Conv2D(2, 3, padding="same", activation="relu", name="conv_in")(block_inputs)
    x = keras.Model(block_inputs, y, name="block")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(12, activation="relu", name="fc1")(x)
    x = layers.Dense(12, activation="relu", name="fc2")(x)
    x = layers.Dense(12, activation="relu", name="fc3")(x)
    return keras.Model(inputs, layers.Dense(4, name="out")(x), name=name)


@pytest.fixture(scope="session")
def wrapped() -> keras.Model:
    """The tangled model at sparsity 0.6, with its wrappers."""
    return prune(build_tangled(), 0.6)


@pytest.fixture(scope="session")
def masks(wrapped: keras.Model) -> dict[str, np.ndarray]:
    return get_masks(wrapped)


@pytest.fixture(scope="session")
def stripped(wrapped: keras.Model) -> keras.Model:
    return strip(wrapped)


@pytest.fixture(scope="session")
def bring_back(stripped: keras.Model, masks: dict[str, np.ndarray]) -> Callable[[str], keras.Model]:
    """Gives copies of the stripped model in which one removed weight is not zero any more."""

    def copy_with(key: str) -> keras.Model:
        copy = keras.models.clone_model(stripped)
        copy.set_weights(stripped.get_weights())
        *path, _ = key.split("/")
        layer = copy
        for name in path:
            layer = layer.get_layer(name)
        kernel, bias = layer.get_weights()
        kernel[tuple(np.argwhere(~masks[key])[0])] = 0.25
        layer.set_weights([kernel, bias])
        return copy

    return copy_with
