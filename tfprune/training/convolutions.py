"""How training computes convolutions: by whichever of three ways is fast for the map at hand.

TensorFlow's own convolution multiplies every output with every tap, and is at its best on large
maps. On small ones `taps` leaves out the padding, and with channels enough to pay for its sums
`winograd` leaves out most of the products. All three give the same outputs and gradients but for
rounding. Evaluation goes by taps at most, whose products are the usual ones; every file uses
TensorFlow's own.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from tfprune.backend import keras, tf
from tfprune.training.taps import convolution_by_taps, reached
from tfprune.training.winograd import MOST_POINTS, convolution_by_winograd

#: Pixels of the largest map that is computed by taps: measured, with 128 to 512 channels.
TAPS_PIXELS = 16
#: Pixels of the maps that are computed by Winograd's way, from and to, and their fewest channels:
#: measured, with 16 to 512 channels. On 2 x 2 pixels taps are as fast, on 24 x 24 the usual way.
WINOGRAD_PIXELS = (5, 256)
WINOGRAD_CHANNELS = 64
#: Points of Winograd's way: what it adds in bfloat16 is noise, see there.
WINOGRAD_POINTS = {"float32": MOST_POINTS, "bfloat16": 6}


@contextlib.contextmanager
def fast_convolutions(model: Any, precision: str) -> Iterator[None]:
    """Within it the model's plain convolutions are computed in the way that is fast for each.

    Args:
        model: a Keras model.
        precision: what training multiplies in, "float32" or "bfloat16".
    """
    with convolving_by(model, functools.partial(_convolution, WINOGRAD_POINTS[precision])):
        yield


@contextlib.contextmanager
def small_maps_by_taps(model: Any) -> Iterator[None]:
    """Within it the model's plain convolutions of small maps are computed by taps.

    The products are those of the usual way, in float32 summed in another order: for evaluation.
    """
    with convolving_by(model, functools.partial(_convolution, 0)):
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
        rows, columns = (len(list(reached(*side, layer.padding))) for side in sides)
        if rows * columns < taps[0] * taps[1]:
            found[layer.name] = taps[0] * taps[1] - rows * columns
        return type(layer).convolution_op(layer, inputs, kernel)

    with convolving_by(model, noted):
        tf.function(lambda images: model(images, training=True)).get_concrete_function(
            tf.TensorSpec((2, *shape))
        )
    return found


def _is_plain(layer: Any) -> bool:
    """Whether a layer is a convolution that the other ways can compute."""
    return (
        type(layer) is keras.layers.Conv2D
        and layer.data_format == "channels_last"
        and layer.groups == 1
        and tuple(layer.strides) == tuple(layer.dilation_rate) == (1, 1)
    )


def _convolution(most_points: int, layer: Any, inputs: tf.Tensor, kernel: Any) -> tf.Tensor:
    """Stands in for `convolution_op` of a layer."""
    kernel = tf.convert_to_tensor(kernel)
    known = len(inputs.shape) == 4 and None not in inputs.shape[1:3]  # tf_keras takes more axes
    # A layer with a type of its own would sum in it, too coarsely for parts of a sum.
    if known and inputs.dtype == "float32":
        pixels = inputs.shape[1] * inputs.shape[2]
        if _pays(pixels, kernel.shape, most_points):
            return convolution_by_winograd(inputs, kernel, layer.padding, most_points)
        if pixels <= TAPS_PIXELS:
            return convolution_by_taps(inputs, kernel, layer.padding)
    return type(layer).convolution_op(layer, inputs, kernel)


def _pays(pixels: int, kernel: Any, most_points: int) -> bool:
    """Whether Winograd's way is faster, for a map and the shape (h, w, C, F) of a kernel."""
    *taps, channels, filters = kernel
    least, most = WINOGRAD_PIXELS
    return (
        least <= pixels <= most
        and 1 < max(taps) < most_points
        and min(channels, filters) >= WINOGRAD_CHANNELS
    )
