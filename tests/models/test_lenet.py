"""The LeNets against the published sizes."""

import numpy as np
import pytest

from tfprune import models


def kernels(model) -> dict[str, int]:
    return {
        layer.name: int(np.prod(layer.kernel.shape))
        for layer in model.layers
        if hasattr(layer, "kernel")
    }


def test_lenet5_has_the_sizes_of_the_published_table():
    model = models.build("lenet5", (28, 28, 1), 10)
    # conv1 150 and conv2 2400 weights: 22 + 1253 of them are half (the table's conv 50%).
    assert kernels(model) == {
        "conv1": 150,
        "conv2": 2400,
        "fc1": 4 * 4 * 16 * 120,
        "fc2": 120 * 84,
        "fc3": 84 * 10,
    }
    assert model.count_params() == 61_706 - 17_280 == 44_426  # LeCun's has 32x32 inputs


def test_lenet5_is_lecuns_on_32_pixels():
    assert models.build("lenet5", (32, 32, 1), 10).count_params() == 61_706


def test_lenet5_caffe():
    model = models.build("lenet5_caffe", (28, 28, 1), 10)
    assert kernels(model) == {"conv1": 500, "conv2": 25_000, "fc1": 400_000, "fc2": 5_000}
    assert model.count_params() == 431_080  # Han et al. 2015, table 4: 431K


def test_lenet300_100():
    model = models.build("lenet300_100", (28, 28, 1), 10)
    assert kernels(model) == {"fc1": 235_200, "fc2": 30_000, "fc3": 1_000}
    assert model.count_params() == 266_610  # Han et al. 2015, table 3: 267K


@pytest.mark.parametrize(("name", "filters"), [("lenet5", 16), ("lenet5_caffe", 50)])
def test_sixteen_pixels_leave_one(name, filters):
    model = models.build(name, (16, 16, 3), 10)
    assert model.get_layer("pool2").output.shape[1:] == (1, 1, filters)
    assert model.predict(np.zeros((2, 16, 16, 3), np.float32), verbose=0).shape == (2, 10)


def test_layers_in_order():
    model = models.build("lenet5", (28, 28, 1), 10)
    names = ["images", "conv1", "pool1", "conv2", "pool2", "flatten", "fc1", "fc2", "fc3"]
    assert [layer.name for layer in model.layers] == names


def test_units_are_rectified():
    model = models.build("lenet5", (28, 28, 1), 10)
    hidden = ("conv1", "conv2", "fc1", "fc2")
    assert {model.get_layer(name).activation.__name__ for name in hidden} == {"relu"}
