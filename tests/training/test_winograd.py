import numpy as np
import pytest
from convolving import assert_as_conv2d, convolutions
from hypothesis import given, settings

from tfprune.backend import tf
from tfprune.training.winograd import (
    MOST_POINTS,
    _axis,
    _transforms,
    convolution_by_winograd,
)


def test_the_transforms_of_two_outputs_and_three_taps_by_hand():
    # F(2, 3) of Lavin and Gray 2016, section 4.1, but for two pairs of signs that cancel: of the
    # first rows of G and B^T, and of the last of B^T and the last column of A^T.
    a, g, b = _transforms(2, 3)
    np.testing.assert_array_equal(a.T, [[1, 1, 1, 0], [0, 1, -1, 1]])
    np.testing.assert_array_equal(g, [[-1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    np.testing.assert_array_equal(b.T, [[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]])


def test_four_outputs_on_an_axis_by_hand():
    # x = 1, 2, 3, 4 and w = 1, 2, 3, "same": 2 * 1 + 3 * 2, 1 + 4 + 9, 2 + 6 + 12, 3 + 8.
    x = tf.reshape(tf.constant([1.0, 2.0, 3.0, 4.0]), (1, 1, 4, 1))
    kernel = tf.reshape(tf.constant([1.0, 2.0, 3.0]), (1, 3, 1, 1))
    found = convolution_by_winograd(x, kernel, "same")[0, 0, :, 0]
    np.testing.assert_allclose(found, [8, 14, 20, 11], rtol=1e-6)


@pytest.mark.parametrize(
    ("side", "taps", "padding", "products"),
    [
        (4, 3, "same", 6),  # one tile of four
        (6, 3, "same", 8),  # one of six, eight points
        (8, 3, "same", 12),  # two of four, not of six and two
        (8, 5, "same", 16),  # two of four, eight points each
        (16, 3, "same", 24),  # four of four; three of six take as many
        (1, 3, "same", 3),
        (5, 1, "same", 5),  # nothing to save
        (5, 5, "valid", 5),
        (8, 7, "same", 32),  # two at a time is all that eight points give
    ],
)
def test_tiles_make_the_fewest_products(side, taps, padding, products):
    axis = _axis(side, taps, padding, MOST_POINTS)
    assert axis.points * axis.tiles == products


@pytest.mark.parametrize(("side", "taps", "products"), [(6, 3, 10), (8, 3, 12), (8, 5, 24)])
def test_fewer_points_make_smaller_tiles(side, taps, products):
    axis = _axis(side, taps, "same", 6)  # two of three outputs, two of four, four of two
    assert axis.points * axis.tiles == products and axis.points <= 6


@settings(max_examples=60, deadline=None)
@given(drawn=convolutions(sides=9, taps=MOST_POINTS - 1))
def test_values_and_gradients_are_those_of_conv2d(drawn):
    assert_as_conv2d(convolution_by_winograd, *drawn, atol=1e-9)


@pytest.mark.parametrize(("side", "taps"), [(4, 3), (8, 3), (6, 3), (8, 5)])
def test_five_digits_are_left_in_float32(side, taps):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, side, side, 128))
    kernel = rng.normal(size=(taps, taps, 128, 64)) / taps / np.sqrt(128)
    exact = tf.nn.conv2d(x, kernel, 1, "SAME").numpy()
    ours = convolution_by_winograd(
        tf.constant(x, tf.float32), tf.constant(kernel, tf.float32), "same"
    )
    assert np.abs(ours - exact).max() < 3e-5 * np.abs(exact).max()


@pytest.mark.parametrize(("most_points", "noise"), [(6, 0.03), (8, 0.07)])
@pytest.mark.parametrize(("side", "taps"), [(4, 3), (8, 3), (6, 3), (8, 5)])
def test_the_noise_in_bfloat16_is_what_the_module_says(side, taps, most_points, noise):
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(4, side, side, 128)), tf.float32)
    kernel = rng.normal(size=(taps, taps, 128, 64)) / taps / np.sqrt(128)
    kernel = tf.constant(kernel, tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, kernel])
        exact = tf.nn.conv2d(x, kernel, 1, "SAME")
        rounded = (tf.cast(each, tf.bfloat16) for each in (x, kernel))
        ours = convolution_by_winograd(*rounded, "same", most_points)
        ours = tf.cast(ours, tf.float32)
    pairs = [(ours, exact)]
    direction = tf.constant(rng.normal(size=exact.shape), tf.float32)
    for wanted in (x, kernel):
        pairs.append(tuple(tape.gradient(y, wanted, direction) for y in (ours, exact)))
    for mine, theirs in pairs:
        assert 0.001 < np.std(mine - theirs) / np.std(theirs) < noise
