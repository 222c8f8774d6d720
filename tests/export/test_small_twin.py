"""The small twin: the same network without its dead units, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from shrinking import drawn, images, outputs

from tfprune.backend import keras
from tfprune.export.small_twin import small_twin
from tfprune.export.stored import named_weights
from tfprune.pruning.pruner import get_masks, prune, set_masks

layers = keras.layers


def network() -> keras.Model:
    """Two convolutions, one with batch norm, that meet in a sum, and two dense layers."""
    inputs = keras.Input((4, 4, 2))
    one = layers.Conv2D(4, 3, padding="same", name="one", use_bias=False)(inputs)
    one = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(one))
    other = layers.Conv2D(4, 3, padding="same", activation="relu", name="other")(inputs)
    x = layers.Flatten(name="flat")(layers.Add(name="sum")([one, other]))
    x = layers.Dense(6, activation="relu", name="fc1")(x)
    return drawn(keras.Model(inputs, layers.Dense(3, name="fc2")(x)))


def masked(model: keras.Model, units: dict[str, list[int]]) -> keras.Model:
    """A copy pruned by units: layer -> those that go."""
    pruned = prune(model, 0.0, layers=list(units))
    masks = {name: mask for name, mask in get_masks(pruned).items() if name.endswith("kernel")}
    for name, gone in units.items():
        masks[f"{name}/kernel"][..., gone] = False
    set_masks(pruned, masks)
    return pruned


def test_weights_go_back_to_their_places() -> None:
    """Filter 1 of both convolutions goes, with unit 1 of their sum, and two of six of `fc1`."""
    model = masked(network(), {"one": [1], "other": [1], "fc1": [0, 4]})
    before = named_weights(model)
    twin = small_twin(model)
    assert twin is not None
    held = named_weights(twin.model)
    assert held["one/kernel"].shape == held["other/kernel"].shape == (3, 3, 2, 3)
    assert held["bn/gamma"].shape == held["bn/moving_mean"].shape == (3,)
    assert held["fc1/kernel"].shape == (4 * 4 * 3, 4) and held["fc2/kernel"].shape == (4, 3)
    large = sum(weights.size for weights in before.values())
    assert twin.parameters == (large, sum(weights.size for weights in held.values()))
    for old, new in zip(
        outputs(model, images(model)), outputs(twin.model, images(model)), strict=True
    ):
        np.testing.assert_allclose(old, new, rtol=1e-5, atol=1e-4)

    twin.give_back()
    for name, weights in named_weights(model).items():
        np.testing.assert_array_equal(weights, before[name])
    twin.model.set_weights([2 * weights for weights in twin.model.get_weights()])
    twin.give_back()
    after = named_weights(model)
    kept = [0, 2, 3]
    for name in ("one/kernel", "bn/beta", "bn/moving_variance"):
        np.testing.assert_array_equal(after[name][..., kept], 2 * before[name][..., kept])
        np.testing.assert_array_equal(after[name][..., 1], before[name][..., 1])
    channels = np.arange(64) % 4 != 1  # what `fc1` reads, after the flattening
    doubled = 1 + np.outer(channels, [0, 1, 1, 1, 0, 1])
    np.testing.assert_array_equal(after["fc1/kernel"], doubled * before["fc1/kernel"])
    np.testing.assert_array_equal(after["fc2/bias"], 2 * before["fc2/bias"])


def frozen(model: keras.Model) -> keras.Model:
    model.get_layer("fc2").trainable = False
    return model


def test_what_does_not_train_does_not_train_in_the_twin() -> None:
    twin = small_twin(frozen(masked(network(), {"fc1": [2]})))
    assert twin is not None
    trained = {layer.name for layer in twin.model.layers if layer.trainable_weights}
    assert trained == {"one", "bn", "other", "fc1"}


@pytest.mark.parametrize(
    ("why", "make"),
    [
        ("no masks", lambda: network()),
        ("nothing removed", lambda: prune(network(), 0.0)),
        ("single weights removed", lambda: prune(network(), 0.5)),
        (
            "single weights in a live filter, beside a dead one",
            lambda: _one_weight(masked(network(), {"one": [0], "other": [0]})),
        ),
        ("half of a sum is alive", lambda: masked(network(), {"one": [1], "other": []})),
        (
            "a sigmoid makes a constant of a dead unit, which a bias takes over",
            lambda: masked(_sigmoids(use_bias=True), {"hidden": [1]}),
        ),
        (
            "a new bias would take the constant over",
            lambda: masked(_sigmoids(use_bias=False), {"hidden": [1]}),
        ),
        (
            "in training live units read the noise of a dead one",
            lambda: masked(_between(layers.GaussianNoise(0.1)), {"hidden": [1]}),
        ),
        (
            "in training live units read what is dropped to other than zero",
            lambda: masked(_between(layers.AlphaDropout(0.5)), {"hidden": [1]}),
        ),
    ],
)
def test_where_there_is_none(why: str, make: Callable[[], Any]) -> None:
    assert small_twin(make()) is None, why


def _sigmoids(use_bias: bool) -> keras.Model:
    hidden = layers.Dense(5, activation="sigmoid", name="hidden")
    out = layers.Dense(2, name="out", use_bias=use_bias)
    return drawn(keras.Sequential([keras.Input((4,)), hidden, out]))


def _between(layer: Any) -> keras.Model:
    hidden = layers.Dense(5, activation="relu", name="hidden")
    return drawn(keras.Sequential([keras.Input((4,)), hidden, layer, layers.Dense(2, name="out")]))


@pytest.mark.parametrize("kind", ["Dropout", "GaussianDropout"])
def test_what_is_dropped_to_zero_or_scaled_leaves_dead_units_out(kind: str) -> None:
    twin = small_twin(masked(_between(getattr(layers, kind)(0.5)), {"hidden": [1]}))
    assert twin is not None and twin.model.get_layer("out").kernel.shape == (4, 2)


def _one_weight(model: keras.Model) -> keras.Model:
    masks = {"one/kernel": get_masks(model)["one/kernel"]}
    masks["one/kernel"][0, 0, 0, 2] = False
    set_masks(model, masks)
    return model


def test_none_of_a_model_whose_graph_nobody_knows() -> None:
    class Opaque(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.fc = layers.Dense(4)

        def call(self, inputs: Any) -> Any:
            return self.fc(inputs)

    model = Opaque()
    model(np.zeros((1, 3), np.float32))
    assert small_twin(prune(model, 0.5, granularity="filter", in_place=True)) is None
