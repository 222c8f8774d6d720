"""What several tests do with a pruned model: read its kernels, train it, check its zeros."""

import numpy as np

from tfprune.backend import keras
from tfprune.pruning.pruner import get_masks


def kernel(model, name):
    layer = model
    for part in name.split("/"):
        layer = layer.get_layer(part)
    return getattr(layer, "layer", layer).kernel.numpy()


def zeros(model, *names):
    return [int((kernel(model, name) == 0).sum()) for name in names]


def assert_masked(model, masks):
    """What the masks remove is +0.0, to the bit, and nothing else of the kernels is zero."""
    for key, mask in masks.items():
        path, _, attribute = key.rpartition("/")
        layer = model
        for part in path.split("/"):
            layer = layer.get_layer(part)
        values = getattr(getattr(layer, "layer", layer), attribute).numpy()
        assert not values[~mask].tobytes().strip(b"\0"), key
        if attribute == "kernel":
            assert np.count_nonzero(values) == mask.sum(), key


def data(model, count=10):
    rng = np.random.default_rng(0)
    inputs = [rng.random((count, *i.shape[1:]), np.float32) for i in model.inputs]
    outputs = [rng.random((count, *o.shape[1:]), np.float32) for o in model.outputs]
    return (inputs, outputs) if len(inputs) > 1 else (inputs[0], outputs[0])


def fit(model, optimizer=None, steps=5):
    inputs, outputs = data(model, 2 * steps)
    model.compile(optimizer or keras.optimizers.Adam(0.01), keras.losses.MeanSquaredError())
    model.fit(inputs, outputs, batch_size=2, verbose=0)
    return model


def dead_unit_masks(model):
    masks = {key: mask.copy() for key, mask in get_masks(model).items() if "conv1/kernel" in key}
    masks["conv1/kernel"][..., 2] = False
    return masks
