"""Convolutions of small maps as matrix products, one for each tap of the kernel.

y[p] = sum over t of x[p + t] w[t], where w[t] is a matrix (inputs x filters) and p + t lies inside
the map: as many products as the kernel has taps, each over the pixels that it reaches. Late layers
see maps of a few pixels, where the usual kernels are slow, above all for the gradient of the
weights, and multiply the padding too: on a map of 2 x 2 pixels, 3 x 3 taps reach 16 of 36 times.
What a product costs on larger maps is the copying of their slices.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from tfprune.backend import keras, tf

#: Pixels of the largest map that is computed so: measured, with 128 to 512 channels.
MOST_PIXELS = 16


@contextlib.contextmanager
def small_maps_by_taps(model: Any) -> Iterator[None]:
    """Within it the model's plain convolutions, where their maps are small, run by taps."""
    with convolving_by(model, _convolution):
        yield


@contextlib.contextmanager
def convolving_by(
    model: Any, convolution: Callable[[Any, tf.Tensor, Any], tf.Tensor]
) -> Iterator[None]:
    """Within it `convolution` computes the model's plain convolutions.

    Plain are the `Conv2D` with strides and dilation of 1, without groups, channels last.

    Args:
        model: a Keras model.
        convolution: gives the outputs of a layer from (layer, inputs, kernel).
    """
    layers = [layer for layer in model._flatten_layers() if _is_plain(layer)]
    for layer in layers:
        layer.convolution_op = functools.partial(convolution, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.convolution_op


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
    for i, top, bottom, down in _reached(height, rows, padding):
        for j, left, right, across in _reached(width, columns, padding):
            # Not x[...]: the gradient of a strided slice takes longer than the product.
            sides = (bottom - top, right - left)
            seen = tf.slice(x, (0, top + down, left + across, 0), (-1, *sides, channels))
            part = tf.matmul(tf.reshape(seen, (-1, channels)), taps[i * columns + j])
            part = tf.reshape(part, (-1, *sides, filters))
            around = ((0, 0), (top, high - bottom), (left, wide - right), (0, 0))
            parts.append(tf.pad(part, around))
    return tf.add_n(parts)


def idle_taps(model: Any, shape: tuple[int, int, int]) -> dict[str, int]:
    """How many taps of each plain convolution reach no pixel, for images of a shape (H, W, C).

    Such taps multiply padding alone: their weights neither count nor train.

    Returns:
        Name of the layer -> number of such taps, for the layers that have any.
    """
    found: dict[str, int] = {}

    def noted(layer: Any, inputs: tf.Tensor, kernel: Any) -> tf.Tensor:
        taps = kernel.shape[:2]
        sides = zip(inputs.shape[1:3], taps, strict=True)
        rows, columns = (len(list(_reached(*side, layer.padding))) for side in sides)
        if rows * columns < taps[0] * taps[1]:
            found[layer.name] = taps[0] * taps[1] - rows * columns
        return type(layer).convolution_op(layer, inputs, kernel)

    with convolving_by(model, noted):
        tf.function(lambda images: model(images, training=True)).get_concrete_function(
            tf.TensorSpec((2, *shape))
        )
    return found


def _is_plain(layer: Any) -> bool:
    """Whether a layer is a convolution that `convolution_by_taps` can compute."""
    return (
        type(layer) is keras.layers.Conv2D
        and layer.data_format == "channels_last"
        and layer.groups == 1
        and tuple(layer.strides) == tuple(layer.dilation_rate) == (1, 1)
    )


def _convolution(layer: Any, inputs: tf.Tensor, kernel: Any) -> tf.Tensor:
    """Stands in for `convolution_op` of a layer."""
    sides = inputs.shape[1:3]
    kernel = tf.convert_to_tensor(kernel)
    if None not in sides and _pixels(sides, kernel.shape, layer.padding) <= MOST_PIXELS:
        return convolution_by_taps(inputs, kernel, layer.padding)
    return type(layer).convolution_op(layer, inputs, kernel)


def _pixels(sides: Any, kernel: Any, padding: str) -> int:
    """Pixels of the larger of the two maps that a convolution goes between."""
    out = [_size(side, taps, padding) for side, taps in zip(sides, kernel, strict=False)]
    return max(sides[0] * sides[1], out[0] * out[1])


def _size(side: int, taps: int, padding: str) -> int:
    return side if padding == "same" else side - taps + 1


def _reached(side: int, taps: int, padding: str) -> Iterator[tuple[int, int, int, int]]:
    """(tap, first output, end of outputs, input - output) of each tap that reaches the map."""
    before = (taps - 1) // 2 if padding == "same" else 0
    size = _size(side, taps, padding)
    for tap in range(taps):
        offset = tap - before
        first, end = max(0, -offset), min(size, side - offset)
        if first < end:
            yield tap, first, end, offset
