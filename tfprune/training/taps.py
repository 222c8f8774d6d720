"""Convolutions as matrix products, one for each tap of the kernel: fast on small maps.

y[p] = sum over t of x[p + t] w[t], where w[t] is a matrix (inputs x filters) and p + t lies inside
the map: as many products as the kernel has taps, each over the pixels that it reaches. Late layers
see maps of a few pixels, where the usual kernels are slow, above all for the gradient of the
weights, and multiply the padding too: on a map of 2 x 2 pixels, 3 x 3 taps reach 16 of 36 times.
What a product costs on larger maps is the copying of their slices.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfprune.backend import tf


def convolution_by_taps(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """The convolution of (B, H, W, C) inputs with a (h, w, C, F) kernel, with strides of 1.

    Args:
        x: of known height, width and channels.
        kernel: odd or even sides.
        padding: "same" or "valid", as in Keras.

    Returns:
        (B, H', W', F): H' = H ("same") or H - h + 1 ("valid").
    """
    height, width, channels = x.shape[1:]
    rows, columns, _, filters = kernel.shape
    taps = tf.unstack(tf.reshape(kernel, (rows * columns, channels, filters)))
    high, wide = _size(height, rows, padding), _size(width, columns, padding)
    parts = []
    for i, top, bottom, down in reached(height, rows, padding):
        for j, left, right, across in reached(width, columns, padding):
            # Not x[...]: the gradient of a strided slice takes longer than the product.
            sides = (bottom - top, right - left)
            seen = tf.slice(x, (0, top + down, left + across, 0), (-1, *sides, channels))
            part = tf.matmul(tf.reshape(seen, (-1, channels)), taps[i * columns + j])
            part = tf.reshape(part, (-1, *sides, filters))
            around = ((0, 0), (top, high - bottom), (left, wide - right), (0, 0))
            parts.append(tf.pad(part, around))
    return tf.add_n(parts)


def _size(side: int, taps: int, padding: str) -> int:
    return side if padding == "same" else side - taps + 1


def reached(side: int, taps: int, padding: str) -> Iterator[tuple[int, int, int, int]]:
    """(tap, first output, end of outputs, input - output) of each tap that reaches the map."""
    before = (taps - 1) // 2 if padding == "same" else 0
    size = _size(side, taps, padding)
    for tap in range(taps):
        offset = tap - before
        first, end = max(0, -offset), min(size, side - offset)
        if first < end:
            yield tap, first, end, offset
