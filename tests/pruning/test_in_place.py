"""Subclassed models, whose layers stay where they are."""

import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.errors import UsageError
from tfprune.export.audit import audit
from tfprune.pruning.prunable import prunables
from tfprune.pruning.pruner import apply_masks, get_masks, layer_sparsities, prune, strip
from tfprune.pruning.wrapper import PrunableLayer

layers = keras.layers


class Tower(keras.Model):
    """Dense layers in a list, in an attribute, and in a wrapper that the user made."""

    def __init__(self, first=None):
        super().__init__()
        self.first = first or layers.Dense(4, kernel_constraint="non_neg")
        self.hidden = [layers.Dense(6), layers.Dense(5)]
        self.head = layers.Dense(2)

    def call(self, inputs):
        outputs = self.first(inputs)
        for layer in self.hidden:
            outputs = layer(outputs)
        return self.head(outputs)


INPUTS = np.random.default_rng(0).random((8, 3), np.float32)
TARGETS = np.ones((8, 2), np.float32)


def built(first=None):
    keras.utils.set_random_seed(0)
    model = Tower(first)
    model(INPUTS)
    return model


def test_layers_are_named_by_the_attributes_that_hold_them_and_none_is_left_out():
    model = built()
    assert [p.name for p in prunables(model)] == ["first", "hidden/0", "hidden/1", "head"]
    assert list(layer_sparsities(prune(model, 0.5, layers="hidden", in_place=True))) == [
        "hidden/0",
        "hidden/1",
    ]


def test_masks_hold_in_a_training_step_that_was_traced_before():
    model = built()
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.fit(INPUTS, TARGETS, verbose=0)
    user = model.first.kernel.constraint
    assert prune(model, 0.5, exclude="head", in_place=True) is model
    masks = get_masks(model)
    assert sum((~masks[key]).sum() for key in masks if key.endswith("kernel")) == 33  # of 66
    model.fit(INPUTS, TARGETS, verbose=0, epochs=3, batch_size=2)
    assert audit(model).verdict == "ok"
    assert (model.first.kernel.numpy() >= 0).all()
    assert strip(model, in_place=True) is model
    assert model.first.kernel.constraint is user and get_masks(model) == {}
    model.fit(INPUTS, TARGETS, verbose=0, epochs=3, batch_size=2)
    assert audit(model, masks).verdict == "failed"


def test_averages_bring_weights_back_until_the_masks_are_applied():
    model = prune(built(), 0.5, in_place=True)
    masks = get_masks(model)
    model.compile(keras.optimizers.Adam(0.1, use_ema=True), "mse")
    model.fit(INPUTS, TARGETS, verbose=0, epochs=3, batch_size=2)
    assert audit(model, masks).verdict == "failed"
    assert audit(apply_masks(model), masks).verdict == "ok"


def test_what_cannot_be_is_refused():
    model = built()
    with pytest.raises(UsageError, match="prune it with in_place=True, which changes it"):
        prune(model, 0.5)
    with pytest.raises(UsageError, match="strip it with in_place=True, which changes it"):
        strip(model)
    wrapped = built(PrunableLayer(layers.Dense(4)))
    for owner in (wrapped, keras.Sequential([keras.Input((3,)), layers.Dense(2)])):
        with pytest.raises(UsageError, match=r"in_place=True strips subclassed models that"):
            strip(owner, in_place=True)
    with pytest.raises(UsageError, match=r"no layer called 'body' has weights.*hidden/0"):
        prune(model, 0.5, layers="body", in_place=True)
    with pytest.raises(UsageError, match="not built yet"):
        prune(Tower(), 0.5, in_place=True)
