"""What every way to compute a convolution is held to."""

import numpy as np
from hypothesis import strategies as st

from tfprune.backend import tf


@st.composite
def convolutions(draw, sides, taps):
    """(x, kernel, padding) with sides and taps up to a number, in float64."""
    sides = draw(st.tuples(*[st.integers(1, sides)] * 2), "sides")
    taps = draw(st.tuples(*[st.integers(1, taps)] * 2), "taps")
    fits = all(tap <= side for tap, side in zip(taps, sides, strict=True))
    padding = draw(st.sampled_from(["same", "valid"] if fits else ["same"]), "padding")
    rng = np.random.default_rng(draw(st.integers(0, 99), "seed"))
    x = tf.constant(rng.normal(size=(2, *sides, 3)))
    return x, tf.constant(rng.normal(size=(*taps, 3, 4))), padding


def assert_as_conv2d(convolution, x, kernel, padding, atol):
    """Outputs, and gradients of a sum of their sines, are those of TensorFlow's convolution."""
    ours = _values_and_gradients(lambda x, w: convolution(x, w, padding), x, kernel)
    usual = _values_and_gradients(lambda x, w: tf.nn.conv2d(x, w, 1, padding.upper()), x, kernel)
    for mine, theirs in zip(ours, usual, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=atol)


def _values_and_gradients(convolution, x, kernel):
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = convolution(x, kernel)
        loss = tf.reduce_sum(tf.sin(y))
    return [y, *tape.gradient(loss, [x, kernel])]
