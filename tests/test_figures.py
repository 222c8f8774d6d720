"""What the ledger is told of a model."""

import numpy as np

from tfprune.backend import keras
from tfprune.figures import layer_contents
from tfprune.pruning.pruner import get_masks, prune, strip
from tfprune.reporting.ledger import KernelContent, LayerContent

layers = keras.layers


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, name="conv1"),
            layers.BatchNormalization(name="bn1"),
            layers.LayerNormalization(name="norm1"),
            layers.Flatten(name="flatten"),
            layers.Dense(5, name="fc1"),
            layers.Dense(3, use_bias=False, name="out"),
        ]
    )


def test_each_variable_is_in_one_part():
    assert layer_contents(network()) == [
        LayerContent("conv1", (KernelContent(72, 72),), biases=4),
        LayerContent("bn1", batch_norm=16),
        LayerContent("norm1", other=8),
        LayerContent("fc1", (KernelContent(320, 320),), biases=5),
        LayerContent("out", (KernelContent(15, 15),)),
    ]


def test_masks_tell_what_is_kept_and_in_a_plain_model_its_zeros():
    pruned = prune(network(), 0.75, layers=["conv1", "fc1"], allocation="uniform")
    kept = {name: int(mask.sum()) for name, mask in get_masks(pruned).items()}
    found = {content.name: content for content in layer_contents(pruned)}
    assert found["conv1"].kernels == (KernelContent(72, 18),)
    assert found["fc1"].kernels == (KernelContent(320, kept["fc1/kernel"]),)
    assert kept["fc1/kernel"] == 80
    assert layer_contents(strip(pruned)) == list(found.values())


def test_shared_values_are_a_codebook():
    model = network()
    kernel = np.resize(np.float32([0.0, 0.5, -0.5, 0.25]), (64, 5))
    model.get_layer("fc1").set_weights([kernel, np.zeros(5)])
    found = {content.name: content for content in layer_contents(model)}
    assert found["fc1"].kernels == (KernelContent(320, 240, codebook=3),)
    assert found["conv1"].kernels == (KernelContent(72, 72),)
