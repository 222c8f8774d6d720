"""How each kind of layer treats dead and constant units, by hand and in random graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shrinking import chain, checked, dead, drawn, edit, units, zero

from tfprune.backend import IS_TF_KERAS, keras
from tfprune.export.shrink import shrink_with_report

layers = keras.layers


def test_a_batch_norm_without_scale_kills_the_filter_before_it() -> None:
    conv = layers.Conv2D(3, 3, name="conv")
    model = chain(conv, layers.BatchNormalization(name="bn"), layers.Conv2D(2, 1), shape=(5, 5, 1))
    edit(model, "bn", gamma=zero(0))  # beta stays, and goes into the next bias
    shrunk = checked(model)
    assert units(shrunk)["conv"] == 2
    last = model.layers[-1]
    beta = np.array(model.get_layer("bn").beta)[0]
    np.testing.assert_allclose(
        shrunk.model.layers[-1].bias, last.bias + beta * last.kernel[0, 0, 0], rtol=1e-6
    )


# The bias of the dead filter is 2: relu(2) = 2, sigmoid(2) = 1 / (1 + exp(-2)).
@pytest.mark.parametrize(("activation", "value"), [("relu", 2.0), ("sigmoid", 0.88079708)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_constants_are_folded_through_convolutions_without_padding(
    activation: str, value: float, use_bias: bool
) -> None:
    model = chain(
        layers.Conv2D(3, 3, activation=activation, name="conv1"),
        layers.AveragePooling2D(2, padding="same"),
        layers.Conv2D(2, 2, strides=2, use_bias=use_bias, name="conv2"),
        layers.Dense(2, name="out"),
        shape=(8, 8, 1),
    )
    dead(model, "conv1", [1], bias=2.0)
    shrunk = checked(model)
    assert units(shrunk) == {"conv1": 2, "conv2": 2, "out": 2}
    conv2 = model.get_layer("conv2")
    bias = np.array(conv2.bias) if use_bias else 0.0
    expected = bias + value * np.array(conv2.kernel)[:, :, 1].sum(axis=(0, 1))
    np.testing.assert_allclose(shrunk.model.get_layer("conv2").bias, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("bias", "side", "padded", "kept"),
    [(2.0, 3, True, 3), (0.0, 3, True, 2), (2.0, 1, False, 2), (2.0, 1, True, 3)],
)
def test_constants_are_not_folded_where_padding_cuts_into_them(
    bias: float, side: int, padded: bool, kept: int
) -> None:
    padding = [layers.ZeroPadding2D(1)] if padded and side == 1 else []
    model = chain(
        layers.Conv2D(3, 3, name="conv1"),
        *padding,
        layers.Conv2D(2, side, padding="same", name="conv2"),
        shape=(6, 6, 1),
    )
    dead(model, "conv1", [1], bias=bias)
    assert units(checked(model)) == {"conv1": kept, "conv2": 2}


@pytest.mark.parametrize("merge", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"])
def test_a_merge_loses_what_all_of_its_branches_lose(merge: str) -> None:
    def branches(*killed: str) -> dict[str, int | None]:
        inputs = keras.Input((4, 4, 1))
        both = [layers.Conv2D(3, 2, padding="same", name=n)(inputs) for n in ("a", "b")]
        x = layers.Conv2D(2, 2, name="out")(getattr(layers, merge)()(both))
        model = drawn(keras.Model(inputs, x))
        for name in killed:
            dead(model, name, [1])
        return units(checked(model))

    assert branches("a", "b") == {"a": 2, "b": 2, "out": 2}
    # Zero times anything is zero, and what is multiplied by it is not needed either.
    kept = 2 if merge == "Multiply" else 3
    assert branches("a") == {"a": kept, "b": kept, "out": 2}


def test_concatenated_units_go_one_by_one() -> None:
    inputs = keras.Input((6, 6, 1))
    a = layers.Conv2D(3, 3, name="a")(inputs)
    b = layers.MaxPooling2D(3, strides=1)(layers.Conv2D(2, 1, name="b")(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Concatenate()([a, b]))
    model = drawn(keras.Model(inputs, layers.Dense(2, name="out")(x)))
    dead(model, "a", [2])
    dead(model, "b", [0], bias=1.5)
    shrunk = checked(model)
    assert units(shrunk) == {"a": 2, "b": 1, "out": 2}
    assert list(shrunk.indices["out/kernel"][0]) == [0, 1, 4]


def test_depthwise_convolutions_keep_the_outputs_of_a_channel_together() -> None:
    model = chain(
        layers.Conv2D(3, 1, name="conv"),
        layers.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh", name="depth"),
        layers.Conv2D(2, 1, name="out"),
        shape=(5, 5, 1),
    )
    attribute = "depthwise_kernel" if IS_TF_KERAS else "kernel"
    edit(model, "depth", **{attribute: lambda w: w.__setitem__((..., 1, 0), 0.0)})
    assert units(checked(model)) == {"conv": 3, "depth": 6, "out": 2}  # one of two is dead
    edit(model, "depth", **{attribute: lambda w: w.__setitem__((..., 1, 1), 0.0)})
    dead(model, "conv", [0], bias=0.5)
    shrunk = checked(model)
    assert units(shrunk) == {"conv": 1, "depth": 2, "out": 2}
    assert list(shrunk.indices[f"depth/{attribute}"][2]) == [2]
    assert list(shrunk.indices["depth/bias"][0]) == [4, 5]


@pytest.mark.parametrize(("bias", "kept"), [(0.0, 1), (0.5, 2)])
def test_a_decoder_of_reshape_and_transposed_convolutions(bias: float, kept: int) -> None:
    model = chain(
        layers.Dense(8, activation="relu", name="fc"),
        layers.Reshape((2, -1, 2)),
        layers.Conv2DTranspose(3, 3, strides=2, name="up"),
        layers.UpSampling2D(2),
        layers.Conv2D(1, 1, name="out"),
    )
    dead(model, "fc", [1, 3, 5, 7], bias=bias)  # channel 1 of each of the four pixels
    edit(model, "up", kernel=zero(2, slice(None)), bias=zero(2))
    shrunk = checked(model)
    assert units(shrunk) == {"fc": 4 * kept, "up": 2, "out": 1}
    assert shrunk.model.get_layer("up").kernel.shape == (3, 3, 2, kept)


class Doubled(layers.Dense):
    """A subclass, which may do anything with its units."""

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return super().call(inputs) * 2.0 + 1.0


BARRIERS = {
    "a subclass": lambda x: Doubled(3, name="barrier")(x),
    "softmax": lambda x: layers.Softmax()(x),
    "a function not known": lambda x: layers.Activation(keras.activations.softmax)(x),
    "layer norm": lambda x: layers.LayerNormalization()(x),
    "an operation": lambda x: x + 1.0,
    "batch statistics": lambda x: layers.BatchNormalization()(x, training=True),
    "a batch norm of rows": lambda x: layers.BatchNormalization(axis=1)(x),
    "groups": lambda x: layers.Conv2D(3, 1, groups=3, name="barrier")(x),
    "a joint of other axes": lambda x: layers.Concatenate(axis=1)([x, x]),
    "attention": lambda x: layers.Reshape((9, 3))(
        layers.MultiHeadAttention(1, 2)(layers.Reshape((9, 3))(x), value=layers.Reshape((9, 3))(x))
    ),
    "units in one column": lambda x: layers.Reshape((27, 1))(x),
    "units across columns": lambda x: layers.Reshape((9, 2))(layers.Cropping2D(((0, 1), 0))(x)),
    "a turned image": lambda x: layers.Permute((3, 1, 2))(x),
}


@pytest.mark.parametrize("kind", BARRIERS)
def test_layers_that_are_not_known_are_barriers(kind: str) -> None:
    inputs = keras.Input((3, 3, 2))
    x = layers.Conv2D(3, 1, name="conv0")(inputs)
    x = layers.Conv2D(3, 1, name="conv1")(x)
    x = BARRIERS[kind](x)
    model = drawn(keras.Model(inputs, layers.Dense(2, name="out")(layers.Flatten()(x))))
    dead(model, "conv0", [0])
    dead(model, "conv1", [1])
    found = units(checked(model))
    assert (found["conv0"], found["conv1"]) == (2, 3)


def test_channels_first_is_left_alone() -> None:
    convs = [layers.Conv2D(4, 1, data_format="channels_first", name=f"conv{i}") for i in range(2)]
    model = chain(*convs, shape=(2, 5, 5))
    dead(model, "conv0", [1])
    assert not shrink_with_report(model).indices  # convolutions of this kind need a GPU to run


def test_weights_that_are_not_finite_are_left_alone() -> None:
    model = chain(*(layers.Dense(3, name=f"fc{i}") for i in range(3)))
    dead(model, "fc0", [1])
    edit(model, "fc1", kernel=lambda w: w.__setitem__((1, 0), np.inf))  # 0 x inf is NaN
    assert not shrink_with_report(model).indices


def random_graph(draw: Callable[[st.SearchStrategy], Any]) -> keras.Model:
    """Convolutions, batch norms, pools and merges in a random order, then dense layers."""
    inputs = keras.Input((6, 6, 2))
    activations = st.sampled_from(["relu", "sigmoid", "tanh", "elu", None])

    def conv(x: Any, width: int, padding: str = "same") -> Any:
        side = draw(st.sampled_from([1, 3]))
        return layers.Conv2D(
            width, side, padding=padding, activation=draw(activations), use_bias=draw(st.booleans())
        )(x)

    steps = {
        "same": lambda x: conv(x, draw(st.integers(1, 4))),
        "valid": lambda x: conv(x, draw(st.integers(1, 4)), "valid"),
        "depthwise": lambda x: layers.DepthwiseConv2D(
            3, padding=draw(st.sampled_from(["same", "valid"])), depth_multiplier=2
        )(x),
        "norm": lambda x: layers.BatchNormalization()(x),
        "activation": lambda x: layers.Activation(draw(activations))(x),
        "leaky": lambda x: layers.LeakyReLU()(x),
        "pad": lambda x: layers.ZeroPadding2D(1)(x),
        "max": lambda x: layers.MaxPooling2D(2, strides=1, padding="same")(x),
        "average": lambda x: layers.AveragePooling2D(2, strides=1, padding="same")(x),
        "residual": lambda x: layers.Add()([x, conv(x, x.shape[-1])]),
        "gate": lambda x: layers.Multiply()(
            [x, layers.Dense(x.shape[-1])(layers.GlobalAveragePooling2D(keepdims=True)(x))]
        ),
        "concat": lambda x: layers.Concatenate()([x, conv(x, 2)]),
    }
    x = conv(inputs, 4)
    for kind in draw(st.lists(st.sampled_from(sorted(steps)), min_size=1, max_size=5)):
        x = steps[kind](x) if min(x.shape[1:3]) > 2 else x
    x = draw(st.sampled_from([layers.Flatten, layers.GlobalMaxPooling2D]))()(x)
    x = layers.Dense(4, activation=draw(activations))(x)
    return keras.Model(inputs, layers.Dense(2)(x))


def kill_at_random(model: keras.Model, rng: np.random.Generator) -> None:
    """Zeroes rows and columns of kernels, and single weights, biases and batch norm scales."""
    for layer in model.layers:
        weights = []
        for old in layer.get_weights():
            new = rng.uniform(0.1, 1.0, old.shape)
            if not isinstance(layer, layers.BatchNormalization):
                new *= rng.choice([-1, 1], old.shape)
            if len(weights) < 2:  # kernel and bias, or gamma and beta
                for axis in range(max(0, new.ndim - 2), new.ndim):
                    gone = np.flatnonzero(rng.random(new.shape[axis]) < 0.4)
                    new[(slice(None),) * axis + (gone,)] = 0.0
            weights.append(new)
        layer.set_weights(weights)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_random_graphs_with_random_dead_units_give_the_same_outputs(dtype: str) -> None:
    @settings(max_examples=10, deadline=None, derandomize=True)
    @given(st.data(), st.integers(0, 2**32 - 1))
    def run(data: st.DataObject, seed: int) -> None:
        model = random_graph(data.draw)
        kill_at_random(model, np.random.default_rng(seed))
        assert model.outputs[0].dtype == dtype
        checked(model)

    before = keras.backend.floatx()
    set_precision(dtype)
    try:
        run()
    finally:
        set_precision(before)


def set_precision(dtype: str) -> None:
    keras.backend.set_floatx(dtype)
    keras.mixed_precision.set_global_policy(dtype)
