import numpy as np
import pytest
from pruned import assert_masked, data, fit, zeros

from tfprune.backend import keras, tf
from tfprune.errors import UsageError
from tfprune.pruning.pruner import get_masks, prune, strip

layers = keras.layers


def test_branches_shared_layers_and_nested_models_are_copied_and_trained(branched):
    inputs, _ = data(branched)
    wrapped = prune(branched, 0.0)
    for old, new in zip(branched(inputs), wrapped(inputs), strict=True):
        np.testing.assert_array_equal(old, new)
    pruned = prune(branched, 0.5, layers="conv")
    masks = get_masks(pruned)
    assert list(masks) == ["block/conv1/kernel", "block/conv1/bias", "shared/kernel", "shared/bias"]
    assert sum(zeros(pruned, "block/conv1", "shared")) == (72 + 12) // 2
    assert_masked(fit(pruned), masks)
    assert_masked(strip(pruned), masks)


def test_a_compiled_model_with_a_loss_that_has_no_config_stays_as_it_is(mlp):
    mlp.compile("sgd", lambda truth, guess: tf.reduce_mean((truth - guess) ** 2))
    optimizer = mlp.optimizer
    pruned = prune(mlp, 0.5)
    assert getattr(pruned, "optimizer", None) is None
    assert mlp.optimizer is optimizer
    inputs, outputs = data(mlp)
    mlp.fit(inputs, outputs, verbose=0)


class Closed(layers.Layer):
    """A layer whose config lacks an argument of its constructor."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def get_config(self):
        return super().get_config()

    def call(self, inputs):
        return inputs * self.factor


def test_a_layer_that_cannot_be_copied_is_named():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3), Closed(2.0, name="mine"), layers.Dense(2)]
    )
    with pytest.raises(UsageError, match=r"layer 'mine' cannot be copied: its get_config .*Closed"):
        prune(model, 0.5)


def test_a_sequential_model_built_late_can_be_pruned():
    model = keras.Sequential([layers.Dense(4, name="fc1"), layers.Dense(2, name="fc2")])
    model.build((None, 3))
    pruned = prune(model, 0.5)
    assert zeros(pruned, "fc1") == [6]
    assert zeros(strip(pruned), "fc1") == [6]
