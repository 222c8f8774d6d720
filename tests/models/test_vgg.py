"""VGG-16-BN against configuration D and torchvision's parameter count."""

import numpy as np
import pytest

from tfprune import models
from tfprune.backend import keras
from tfprune.errors import UsageError

KERNELS = [
    *(1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824),
    *(1_179_648, 2_359_296, 2_359_296, 2_359_296, 2_359_296, 2_359_296),
]


@pytest.fixture(scope="module")
def model():
    return models.build("vgg16_bn", (32, 32, 3), 10)


def test_kernels_and_parameters(model):
    sizes = [int(np.prod(model.get_layer(f"conv{i}").kernel.shape)) for i in range(1, 14)]
    assert sizes == KERNELS
    dense = [tuple(model.get_layer(f"fc{i}").kernel.shape) for i in (1, 2, 3)]
    assert dense == [(512, 4096), (4096, 4096), (4096, 10)]
    batch_norm = 4 * 4_224  # scale, shift, mean and variance of all filters
    biases = 4096 + 4096 + 10
    assert model.count_params() == (
        sum(KERNELS) + batch_norm + 512 * 4096 + 4096 * 4096 + 4096 * 10 + biases
    )
    assert model.count_params() == 33_650_890


def test_layers_in_order(model):
    convolutions = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}
    expected, i = ["images"], 0
    for block, count in convolutions.items():
        for _ in range(count):
            i += 1
            expected += [f"conv{i}", f"bn{i}", f"relu{i}"]
        expected.append(f"pool{block}")
    expected += ["flatten", "fc1", "dropout1", "fc2", "dropout2", "fc3"]
    assert [layer.name for layer in model.layers] == expected


def test_batch_norm_and_dropout(model):
    for i in range(1, 14):
        assert model.get_layer(f"conv{i}").bias is None
        layer = model.get_layer(f"bn{i}")
        assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)
    assert type(model.get_layer("dropout1")) is keras.layers.Dropout
    assert models.build("vgg16_bn", (8, 8, 3), 2, dropout=0.25).get_layer("dropout2").rate == 0.25


@pytest.mark.parametrize("side", [16, 24])
def test_small_images_have_one_pixel_left_after_the_fifth_pool(side):
    model = models.build("vgg16_bn", (side, side, 3), 4)
    assert model.get_layer("pool5").output.shape[1:] == (1, 1, 512)
    images = np.zeros((1, side, side, 3), np.float32)
    assert model.predict(images, verbose=0).shape == (1, 4)


def test_imagenet_size():
    model = models.build("vgg16_bn", (224, 224, 3), 1000)
    assert model.get_layer("pool5").output.shape[1:] == (7, 7, 512)
    assert model.output_shape == (None, 1000)
    # torchvision's vgg16_bn: 138,365,992, with 4,224 convolution biases that we leave to
    # the batch norm and without its 8,448 averages, which Keras counts.
    assert model.count_params() == 138_365_992 - 4_224 + 8_448


def test_dropout_out_of_range():
    with pytest.raises(UsageError, match=r"dropout must be in \[0, 1\). Received: 1"):
        models.build("vgg16_bn", (8, 8, 3), 2, dropout=1)
