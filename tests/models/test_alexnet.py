"""AlexNet against the published sizes."""

import numpy as np
import pytest

from tfprune import models
from tfprune.backend import keras
from tfprune.errors import UsageError

KERNELS = {
    "conv1": 34_848,
    "conv2": 614_400,
    "conv3": 884_736,
    "conv4": 1_327_104,
    "conv5": 884_736,
    "fc1": 1024 * 4096,  # 32 / 2 / 2 / 2 / 2 = 2 pixels a side, 256 channels
    "fc2": 4096 * 4096,
    "fc3": 4096 * 10,
}


@pytest.fixture(scope="module")
def model():
    return models.build("alexnet", (32, 32, 3), 10)


def test_kernels_and_parameters(model):
    sizes = {
        layer.name: int(np.prod(layer.kernel.shape))
        for layer in model.layers
        if hasattr(layer, "kernel")
    }
    assert sizes == KERNELS
    biases = 96 + 256 + 384 + 384 + 256 + 4096 + 4096 + 10
    assert model.count_params() == sum(KERNELS.values()) + biases == 24_767_882


def test_layers_in_order(model):
    assert [layer.name for layer in model.layers] == [
        *("images", "conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool3"),
        *("flatten", "fc1", "dropout1", "fc2", "dropout2", "fc3"),
    ]


def test_dropout_is_stock_and_half_by_default(model):
    for name in ("dropout1", "dropout2"):
        assert type(model.get_layer(name)) is keras.layers.Dropout
        assert model.get_layer(name).rate == 0.5


# (input side, stride of conv1) -> pixels a side at fc1, rounded up at each halving.
@pytest.mark.parametrize(
    ("side", "stride", "left"),
    [(32, 1, 4), (32, 2, 2), (32, 4, 1), (24, 2, 2), (16, 4, 1), (1, 4, 1)],
)
def test_stride_and_any_input_size(side, stride, left):
    model = models.build("alexnet", (side, side, 3), 7, conv1_stride=stride)
    assert model.get_layer("pool3").output.shape[1:] == (left, left, 256)
    assert model.output_shape == (None, 7)
    assert model.get_layer("conv1").kernel.shape == (11, 11, 3, 96)


def test_imagenet_size():
    model = models.build("alexnet", (224, 224, 3), 1000, conv1_stride=4)
    assert model.get_layer("fc1").kernel.shape == (7 * 7 * 256, 4096)
    assert model.output_shape == (None, 1000)


def test_dropout_rate_zero_keeps_the_layers():
    model = models.build("alexnet", (8, 8, 1), 2, dropout=0.0, conv1_stride=4)
    assert model.get_layer("dropout2").rate == 0.0


@pytest.mark.parametrize("stride", [0, 3, -1])
def test_stride_out_of_range(stride):
    with pytest.raises(UsageError, match=f"one of 1, 2, 4. Received: {stride}"):
        models.build("alexnet", (32, 32, 3), 10, conv1_stride=stride)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_dropout_out_of_range(rate):
    with pytest.raises(UsageError, match=rf"dropout must be in \[0, 1\). Received: {rate}"):
        models.build("alexnet", (8, 8, 1), 2, dropout=rate)
