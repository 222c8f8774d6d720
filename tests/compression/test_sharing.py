"""Weight sharing over a model."""

import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.compression.sharing import share_weights
from tfprune.errors import UsageError
from tfprune.pruning.pruner import prune, strip

layers = keras.layers


@pytest.fixture(scope="module")
def pruned():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(16, 3, name="conv1"),
            layers.BatchNormalization(name="bn1"),
            layers.Flatten(name="flat"),
            layers.Dense(20, name="fc1"),
            layers.Dense(10, name="logits"),
        ],
        name="small",
    )
    return prune(model, 0.8)


def different(model):
    """Layer -> number of different values that are not zero."""
    kernels = {name: model.get_layer(name).get_weights()[0] for name in ("conv1", "fc1", "logits")}
    return {name: len(np.unique(array[array != 0])) for name, array in kernels.items()}


def test_bits_for_all_layers_by_kind_and_by_name(pruned):
    plain = different(strip(pruned))
    # Linear centroids in the hole around zero have no weights and are dropped.
    shared = different(share_weights(pruned, 3))
    assert all(4 <= count <= 8 for count in shared.values())
    assert different(share_weights(pruned, {"fc": 3})) == shared | {"conv1": plain["conv1"]}
    density = different(share_weights(pruned, {"fc": 2, "logits": 1}, initialisation="density"))
    assert density == plain | {"fc1": 4, "logits": 2}
    paper = different(share_weights(pruned))
    assert paper["fc1"] <= 32 and paper["conv1"] == plain["conv1"] <= 256


@pytest.mark.parametrize("initialisation", ["linear", "density", "random"])
def test_zeros_stay_and_kept_stays_kept(pruned, initialisation):
    before = strip(pruned).get_weights()
    after = share_weights(pruned, 2, initialisation=initialisation).get_weights()
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(old == 0, new == 0) and not np.signbit(new[new == 0]).any()
        if old.ndim == 1:
            assert np.array_equal(old, new)
    # The model itself is as it was.
    assert all(map(np.array_equal, strip(pruned).get_weights(), before))


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        (0, "from 1 to 12. Received: 0 for 'conv1'"),
        (True, "Received: True"),
        (5.0, "Received: 5.0 for 'conv1'"),
        ({"fc": 13}, "Received: 13 for 'fc'"),
        ({"fc9": 5}, "no layer is called 'fc9'. Possible: conv, conv1, fc, fc1, logits"),
    ],
)
def test_bits_that_cannot_be_used_are_refused(pruned, bits, message):
    with pytest.raises(UsageError, match=message):
        share_weights(pruned, bits)


def test_weights_that_are_not_finite_are_refused_by_layer(pruned):
    model = strip(pruned)
    kernel, bias = model.get_layer("fc1").get_weights()
    model.get_layer("fc1").set_weights([np.full_like(kernel, np.nan), bias])
    with pytest.raises(UsageError, match=r"layer 'fc1': .* not finite"):
        share_weights(model, 4)
