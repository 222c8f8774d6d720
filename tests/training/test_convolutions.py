import numpy as np
import pytest

from tfprune.backend import IS_TF_KERAS, keras, tf
from tfprune.pruning.pruner import prune
from tfprune.training import convolutions
from tfprune.training.convolutions import fast_convolutions, idle_taps
from tfprune.training.evaluate import predictor
from tfprune.training.inputs import Normalization

RNG = np.random.default_rng(0)
layers = keras.layers


@pytest.fixture
def calls(monkeypatch):
    """The way and the shapes of the inputs that are not convolved by TensorFlow's own."""
    seen = []

    def noting(way):
        usual = getattr(convolutions, f"convolution_by_{way}")

        def noted(x, kernel, padding, *most_points):
            seen.append((way, *x.shape[1:], *most_points))
            return usual(x, kernel, padding, *most_points)

        monkeypatch.setattr(convolutions, f"convolution_by_{way}", noted)

    noting("taps")
    noting("winograd")
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
    with fast_convolutions(pruned, "float32"):
        ours = pruned(pixels, training=True)
    assert calls == [("taps", 4, 4, 4), ("taps", 2, 2, 4)]
    np.testing.assert_allclose(ours, usual, rtol=1e-5, atol=1e-6)


def test_many_channels_go_by_winograd(calls):
    images = keras.Input((64, 64, 3))
    x = layers.Conv2D(64, 3, strides=2, padding="same", name="strided")(images)
    x = layers.Conv2D(64, 3, padding="same", name="large")(x)  # 32 x 32
    x = layers.MaxPooling2D(4)(x)  # 8 x 8
    x = layers.Conv2D(64, 5, padding="same", name="many")(x)
    x = layers.Conv2D(64, 1, name="product")(x)
    x = layers.MaxPooling2D(2)(x)  # 4 x 4
    x = layers.Conv2D(63, 3, padding="same", name="few")(x)
    x = layers.Conv2D(64, 3, name="still_few")(x)  # 2 x 2
    x = layers.Conv2D(64, 2, padding="same", name="tiny")(x)
    model = keras.Model(images, layers.GlobalAveragePooling2D()(x))
    pixels = tf.constant(RNG.normal(size=(2, 64, 64, 3)), tf.float32)
    usual = model(pixels, training=True)
    with fast_convolutions(model, "float32"):
        ours = model(pixels, training=True)
    small = [("taps", 4, 4, 64), ("taps", 4, 4, 63), ("taps", 2, 2, 64)]
    assert calls == [("winograd", 8, 8, 64, 8), *small]
    np.testing.assert_allclose(ours, usual, rtol=1e-4, atol=1e-5)
    calls.clear()
    with fast_convolutions(model, "bfloat16"):
        model(pixels, training=True)
    assert calls == [("winograd", 8, 8, 64, 6), *small]


def test_layers_that_compute_in_half_precision_are_left_alone(calls):
    images = keras.Input((8, 8, 64))
    half = layers.Conv2D(64, 3, dtype="mixed_bfloat16", name="half")(images)
    whole = layers.Conv2D(64, 3, dtype="float32")(half)
    small = layers.Conv2D(4, 2, strides=2, dtype="float32")(whole)  # 2 x 2
    half = layers.Conv2D(4, 2, dtype="mixed_bfloat16", name="small")(small)
    model = keras.Model(images, layers.Conv2D(4, 1, dtype="float32")(half))  # of 1 x 1
    with fast_convolutions(model, "float32"):
        model(tf.zeros((1, 8, 8, 64)), training=True)
    assert calls == [("winograd", 6, 6, 64, 8), ("taps", 1, 1, 4)]


def test_evaluation_goes_by_taps_alone_and_gives_the_same_outputs(calls):
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(64, 3, padding="same", name="first")(images)
    x = layers.Conv2D(64, 3, padding="same", name="large")(x)  # 8 x 8
    x = layers.MaxPooling2D(2)(x)  # 4 x 4
    x = layers.Conv2D(64, 3, padding="same", name="small")(x)
    model = keras.Model(images, layers.GlobalAveragePooling2D()(x))
    pixels = RNG.integers(256, size=(7, 8, 8, 3), dtype=np.uint8)
    unit = Normalization.of("unit", pixels)
    ours = predictor(model, unit)(pixels)
    assert calls == [("taps", 4, 4, 64)]
    usual = model(unit(tf.constant(pixels)), training=False)
    assert len(calls) == 1
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
    with fast_convolutions(model, "float32"):
        graph.get_concrete_function()
    assert not calls


@pytest.mark.skipif(not IS_TF_KERAS, reason="Keras 3 has four axes only")
def test_images_of_more_axes_are_left_alone(calls):
    images = keras.Input((2, 4, 4, 3))
    model = keras.Model(images, layers.Conv2D(4, 3, padding="same")(images))
    pixels = tf.constant(RNG.normal(size=(2, 2, 4, 4, 3)), tf.float32)
    usual = model(pixels, training=True)
    with fast_convolutions(model, "float32"):
        np.testing.assert_array_equal(model(pixels, training=True), usual)
    assert not calls


def test_the_model_is_as_before_afterwards(calls):
    model = keras.Sequential([keras.Input((2, 2, 1)), layers.Conv2D(1, 1)])
    with pytest.raises(ValueError, match="within"), fast_convolutions(model, "float32"):
        raise ValueError("within")
    assert "convolution_op" not in vars(model.layers[-1])
    model(tf.zeros((1, 2, 2, 1)))
    assert not calls
