"""The registry of networks: names, options and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest

from tfprune import models
from tfprune.errors import UsageError


def test_names_in_order():
    assert models.NETWORK_NAMES == (
        "lenet5",
        "lenet5_caffe",
        "lenet300_100",
        "alexnet",
        "vgg16_bn",
    )


def test_names_are_read_without_importing_tensorflow():
    code = (
        "import sys; from tfprune.models import NETWORK_NAMES; "
        "print(len(NETWORK_NAMES), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["5", "False"]


@pytest.fixture(scope="module", params=models.NETWORK_NAMES)
def model(request):
    model = models.build(request.param, (16, 16, 2), 3)
    assert model.name == request.param
    return model


def test_models_give_logits_of_numbered_layers(model):
    assert model.input_shape == (None, 16, 16, 2)
    assert model.output_shape == (None, 3)
    output = model.layers[-1]
    dense = [layer.name for layer in model.layers if layer.name.startswith("fc")]
    assert dense == [f"fc{i + 1}" for i in range(len(dense))]
    assert (output.name, output.activation.__name__) == (dense[-1], "linear")


def test_initialisation(model):
    for layer in model.layers:
        if not hasattr(layer, "kernel"):
            continue
        last = layer is model.layers[-1]
        initializer = "GlorotUniform" if last else "HeNormal"
        assert type(layer.kernel_initializer).__name__ == initializer
        if layer.bias is not None:
            assert not np.any(layer.bias.numpy())


def test_two_builds_draw_different_weights():
    first, second = (models.build("lenet5", (28, 28, 1), 10) for _ in range(2))
    assert np.any(first.get_weights()[0] != second.get_weights()[0])


def test_unknown_network_lists_the_known():
    with pytest.raises(UsageError) as caught:
        models.build("resnet", (32, 32, 3), 10)
    assert str(caught.value) == (
        "network must be one of lenet5, lenet5_caffe, lenet300_100, alexnet, vgg16_bn. "
        "Received: 'resnet'"
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet5", {"dropout": 0.5}, "lenet5 has no dropout; it has no options"),
        ("lenet300_100", {"conv1_stride": 2}, "lenet300_100 has no conv1_stride"),
        ("vgg16_bn", {"conv1_stride": 2}, "vgg16_bn has no conv1_stride; it has dropout."),
    ],
)
def test_options_that_a_network_does_not_have(name, options, message):
    with pytest.raises(UsageError, match=message):
        models.build(name, (28, 28, 1), 10, **options)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_caffe"])
@pytest.mark.parametrize("shape", [(15, 28, 1), (28, 15, 1)])
def test_images_too_small(name, shape):
    message = rf"{name} needs images of at least 16x16 pixels. Received: {shape[0]}x{shape[1]}"
    with pytest.raises(UsageError, match=message):
        models.build(name, shape, 10)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1, 1), (None, None, 3), (28, 0, 1)])
def test_shapes_that_are_none(shape):
    with pytest.raises(UsageError, match=r"three positive numbers\. Received"):
        models.build("lenet5", shape, 10)


def test_one_class():
    with pytest.raises(UsageError, match=r"at least 2 classes\. Received: 1"):
        models.build("lenet5", (28, 28, 1), 1)
