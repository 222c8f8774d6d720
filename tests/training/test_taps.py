import numpy as np
from convolving import assert_as_conv2d, convolutions
from hypothesis import given, settings

from tfprune.backend import tf
from tfprune.training.taps import convolution_by_taps


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
@given(drawn=convolutions(sides=5, taps=5))
def test_values_and_gradients_are_those_of_conv2d(drawn):
    assert_as_conv2d(convolution_by_taps, *drawn, atol=1e-12)
