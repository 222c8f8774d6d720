import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.backend import keras, tf
from tfprune.pruning.pruner import prune
from tfprune.training import small_maps
from tfprune.training.small_maps import convolution_by_taps, idle_taps, small_maps_by_taps

RNG = np.random.default_rng(0)
layers = keras.layers


def values_and_gradients(convolution, x, kernel):
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = convolution(x, kernel)
        loss = tf.reduce_sum(tf.sin(y))
    return [y, *tape.gradient(loss, [x, kernel])]


def test_two_by_two_by_hand():
    # "same": y[0, 0] = x[0, 0] w[1, 1] + x[0, 1] w[1, 2] + x[1, 0] w[2, 1] + x[1, 1] w[2, 2] with
    # w = 1 ... 9 in rows: 1 * 5 + 2 * 6 + 3 * 8 + 4 * 9 = 77; the others likewise.
    x = tf.reshape(tf.constant([1.0, 2.0, 3.0, 4.0]), (1, 2, 2, 1))
    kernel = tf.reshape(tf.range(1.0, 10.0), (3, 3, 1, 1))
    found = convolution_by_taps(x, kernel, "same")[0, ..., 0]
    np.testing.assert_array_equal(found, [[77, 67], [47, 37]])
    # "valid" with the last two rows and columns of it: 1 * 5 + 2 * 6 + 3 * 8 + 4 * 9.
    found = convolution_by_taps(x, kernel[1:, 1:], "valid")
    np.testing.assert_array_equal(found, [[[[77.0]]]])


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_values_and_gradients_are_those_of_conv2d(data):
    sides = data.draw(st.tuples(*[st.integers(1, 5)] * 2), "sides")
    taps = data.draw(st.tuples(*[st.integers(1, 5)] * 2), "taps")
    fits = all(tap <= side for tap, side in zip(taps, sides, strict=True))
    padding = data.draw(st.sampled_from(["same", "valid"] if fits else ["same"]), "padding")
    rng = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    x = tf.constant(rng.normal(size=(2, *sides, 3)))
    kernel = tf.constant(rng.normal(size=(*taps, 3, 4)))
    ours = values_and_gradients(lambda x, w: convolution_by_taps(x, w, padding), x, kernel)
    usual = values_and_gradients(lambda x, w: tf.nn.conv2d(x, w, 1, padding.upper()), x, kernel)
    for mine, theirs in zip(ours, usual, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)


@pytest.fixture
def calls(monkeypatch):
    """The shapes of the inputs that are convolved by taps."""
    seen = []
    usual = small_maps.convolution_by_taps

    def noted(x, kernel, padding):
        seen.append(tuple(x.shape[1:]))
        return usual(x, kernel, padding)

    monkeypatch.setattr(small_maps, "convolution_by_taps", noted)
    return seen


def test_small_maps_of_plain_convolutions_alone_inside_wrappers_too(calls):
    images = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, padding="same", name="large")(images)
    x = layers.MaxPooling2D(2)(x)  # 4 x 4
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="small")(x)
    x = layers.Conv2D(4, 3, padding="same", groups=2, name="grouped")(x)
    x = layers.Conv2D(4, 3, padding="same", dilation_rate=2, name="dilated")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2DTranspose(4, 3, padding="same", name="transpose")(x)
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="strided")(x)  # 2 x 2
    x = layers.Conv2D(6, 2, name="valid")(x)  # 1 x 1
    model = keras.Model(images, layers.Dense(3)(layers.Flatten()(x)))
    pruned = prune(model, 0.5, layers="conv")
    pixels = tf.constant(RNG.normal(size=(2, 8, 8, 2)), tf.float32)
    usual = pruned(pixels, training=True)
    assert not calls
    with small_maps_by_taps(pruned):
        ours = pruned(pixels, training=True)
    assert calls == [(4, 4, 4), (2, 2, 4)]
    np.testing.assert_allclose(ours, usual, rtol=1e-5, atol=1e-6)


def test_idle_taps_by_hand():
    # A row of one pixel, a column of three: of 5 x 5 taps "same", one row and five columns reach.
    images = keras.Input((1, 3, 1))
    x = layers.Conv2D(1, 5, padding="same", name="five")(images)
    x = layers.Conv2D(1, (1, 3), padding="same", name="all")(x)
    model = keras.Model(images, layers.Conv2D(1, (1, 2), name="valid")(x))
    assert idle_taps(model, (1, 3, 1)) == {"five": 20}


def test_a_map_of_unknown_size_is_left_alone(calls):
    model = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(1, 3)])
    graph = tf.function(model, input_signature=[tf.TensorSpec((1, None, None, 1))])
    with small_maps_by_taps(model):
        graph.get_concrete_function()
    assert not calls


def test_the_model_is_as_before_afterwards(calls):
    model = keras.Sequential([keras.Input((2, 2, 1)), layers.Conv2D(1, 1)])
    with pytest.raises(ValueError, match="within"), small_maps_by_taps(model):
        raise ValueError("within")
    assert "convolution_op" not in vars(model.layers[-1])
    model(tf.zeros((1, 2, 2, 1)))
    assert not calls
