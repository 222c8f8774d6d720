"""Multiply-accumulates, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.errors import UsageError
from tfprune.models import build
from tfprune.pruning.macs import macs
from tfprune.pruning.pruner import prune, strip

layers = keras.layers

# Weights x output pixels of LeCun's LeNet-5 on 28 x 28 images (valid padding, 2x2 pools).
LENET5 = {
    "conv1": 150 * 24 * 24,
    "conv2": 2400 * 8 * 8,
    "fc1": 30720,
    "fc2": 10080,
    "fc3": 840,
}


def test_lenet5_dense_and_pruned() -> None:
    model = build("lenet5", (28, 28, 1), 10)
    assert macs(model) == {name: (count, count) for name, count in LENET5.items()}
    wrapped = prune(model, 0.5, layers="conv", allocation="uniform")
    for pruned in (wrapped, strip(wrapped)):
        counted = macs(pruned)
        assert counted["conv1"] == (86400, 43200)
        assert counted["conv2"] == (153600, 76800)
        assert counted["fc1"] == (30720, 30720)


def test_every_kind_of_layer() -> None:
    model = keras.Sequential(
        [
            keras.Input((9, 9, 3)),
            layers.DepthwiseConv2D(3, name="depthwise"),  # 27 weights, 7 x 7 out
            layers.SeparableConv2D(4, 3, name="separable"),  # 27 + 12 weights, 5 x 5 out
            layers.Conv2DTranspose(2, 2, strides=2, name="transposed"),  # 32 weights, 5 x 5 in
            layers.BatchNormalization(name="norm"),
            layers.Dense(5, name="pixels"),  # 10 weights, 10 x 10 pixels
            layers.Reshape((100, 5), name="reshape"),
            layers.Conv1D(2, 3, strides=2, name="line"),  # 30 weights, 49 out
            layers.EinsumDense("abc,cde->abde", (49, 3, 2), name="einsum"),  # 12 weights, 49
            layers.Reshape((49, 6), name="flat"),
            layers.EinsumDense("...b,bc->...c", 7, name="dots"),  # 42 weights, 49
        ]
    )
    assert {name: dense for name, (dense, _) in macs(model).items()} == {
        "depthwise": 27 * 49,
        "separable": 39 * 25,
        "transposed": 32 * 25,
        "pixels": 10 * 100,
        "line": 30 * 49,
        "einsum": 12 * 49,
        "dots": 42 * 49,
    }


def test_nested_models_and_shared_layers() -> None:
    inner_inputs = keras.Input((6, 6, 1))
    inner = keras.Model(inner_inputs, layers.Conv2D(2, 3, name="conv")(inner_inputs), name="block")
    inputs = keras.Input((6, 6, 1))
    x = inner(inputs)
    shared = layers.Conv2D(2, 1, name="shared")
    outputs = layers.Dense(1, name="out")(layers.Flatten()(shared(shared(x))))
    model = keras.Model(inputs, outputs)
    kernel, bias = shared.get_weights()
    kernel[0, 0, 0, 0] = 0.0
    shared.set_weights([kernel, bias])
    expected = {
        "block/conv": (18 * 16, 18 * 16),
        "shared": (2 * 4 * 16, 2 * 3 * 16),
        "out": (32, 32),
    }
    assert macs(model) == expected
    assert sum(map(sum, macs(prune(model, 0.0)).values())) == sum(map(sum, expected.values()))


def test_models_without_a_graph_or_a_size() -> None:
    class Subclassed(keras.Model):
        def call(self, inputs: np.ndarray) -> np.ndarray:
            return inputs

    with pytest.raises(UsageError, match="Received: Subclassed"):
        macs(Subclassed())
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, layers.Conv2D(2, 3, name="conv")(inputs))
    with pytest.raises(UsageError, match="Received: conv with input"):
        macs(model)
