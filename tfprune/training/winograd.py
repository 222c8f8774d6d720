"""Convolutions by Winograd's minimal filtering: a fraction of the products, as matrix products.

A convolution multiplies polynomials, and a product of degree a - 1 is known from its values at a
points. So m neighbouring outputs of r taps need a = m + r - 1 products along an axis, not m r; on a
map, where both axes do it, 36 in place of 144 for 4 x 4 outputs of 3 x 3 taps:

    y = A^T ((G k) * (B^T x)),  A (a, m), G (a, r), B (a, a), * product by product

B^T x and G k are sums of pixels and of taps, one for each pair of points; what is multiplied are
the matrices of a pair, pixels x inputs and inputs x filters. The points are 0, 1, -1, 1/2, -2, 2,
-1/2 and infinity, as many as needed. The sums lose digits, the more, the more points. In float32
about five are left with eight points. In bfloat16 outputs and gradients have a noise of 2% of their
spread with six, and not of 0.3%: about that of factors in 8 bits, with which networks train as
well. With eight it is 6%, and a run of AlexNet learned a little less (docs/results.md).

Sources: Winograd 1980, "Arithmetic Complexity of Computations"; Lavin and Gray 2016, "Fast
Algorithms for Convolutional Neural Networks"; points: Barabasz et al. 2020, "Error Analysis and
Improving the Accuracy of Winograd Convolution for Deep Neural Networks"; 8 bits: Micikevicius et
al. 2022, "FP8 Formats for Deep Learning".
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from tfprune.backend import tf

#: Of the finite ones; infinity comes last. With 1/2 and -2 sums stay smaller than with 2 and -2.
_POINTS = (0.0, 1.0, -1.0, 0.5, -2.0, 2.0, -0.5)
#: Along an axis. Two outputs at a time take one more than the kernel has taps.
MOST_POINTS = len(_POINTS) + 1


def convolution_by_winograd(
    x: tf.Tensor, kernel: tf.Tensor, padding: str, most_points: int = MOST_POINTS
) -> tf.Tensor:
    """The convolution of (B, H, W, C) inputs with a (h, w, C, F) kernel, with strides of 1.

    Args:
        x: of known height, width and channels.
        kernel: of fewer taps a side than `most_points`.
        padding: "same" or "valid", as in Keras.
        most_points: along an axis, at most `MOST_POINTS`.

    Returns:
        (B, H', W', F): H' = H ("same") or H - h + 1 ("valid").
    """
    height, width, channels = x.shape[1:]
    rows, columns, _, filters = kernel.shape
    high = _axis(height, rows, padding, most_points)
    wide = _axis(width, columns, padding, most_points)
    pixels = tf.transpose(x, (1, 2, 0, 3))  # images stay together: long rows for each transform
    pixels = _on_both_axes(high.inputs, wide.inputs, pixels)
    pixels = _points_first(pixels, high, wide, (-1, channels))
    taps = _on_both_axes(high.taps, wide.taps, kernel)
    taps = tf.reshape(taps, (high.points * wide.points, channels, filters))
    products = tf.matmul(pixels, taps)  # (points of both axes, tiles and images, F)
    products = _tiles_beside(products, high, wide, (-1, filters))
    return tf.transpose(_on_both_axes(high.outputs, wide.outputs, products), (2, 0, 1, 3))


@dataclasses.dataclass(frozen=True)
class _Axis:
    """One axis of a map, cut into tiles of outputs.

    Attributes:
        points: how many a tile has.
        tiles: how many there are.
        inputs: (points * tiles, side): B^T of each tile, on the pixels that it sees.
        taps: (points, taps): G.
        outputs: (outputs, points * tiles): A^T of each tile, to the outputs that it makes.
    """

    points: int
    tiles: int
    inputs: np.ndarray
    taps: np.ndarray
    outputs: np.ndarray


@functools.cache
def _axis(side: int, taps: int, padding: str, most_points: int) -> _Axis:
    """The transforms of an axis, tiles as large as makes the fewest products."""
    before = (taps - 1) // 2 if padding == "same" else 0
    size = side if padding == "same" else side - taps + 1
    outputs = min(
        range(1, min(size, most_points + 1 - taps) + 1),
        key=lambda outputs: (-(-size // outputs) * (outputs + taps - 1), outputs),
    )
    points, tiles = outputs + taps - 1, -(-size // outputs)
    a, g, b = _transforms(outputs, taps)
    of_inputs, of_outputs = np.zeros((points, tiles, side)), np.zeros((size, points, tiles))
    for tile in range(tiles):
        first = tile * outputs
        seen = np.arange(points) + first - before
        inside = (seen >= 0) & (seen < side)
        of_inputs[:, tile, seen[inside]] = b.T[:, inside]
        made = of_outputs[first : first + outputs, :, tile]
        made[:] = a.T[: len(made)]
    return _Axis(points, tiles, of_inputs.reshape(-1, side), g, of_outputs.reshape(size, -1))


def _transforms(outputs: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, G, B), from Lagrange's interpolation at the points.

    The product s of two polynomials is sum over i of s(p_i) L_i(x) / L_i(p_i) + s(inf) M(x), where
    M(x) is the product of all x - p_j, and L_i that of all but the i-th. What a convolution wants
    is the transpose of that product: values become sums, and sums values.
    """
    count = outputs + taps - 1
    points = np.array(_POINTS[: count - 1])
    others = [np.delete(points, i) for i in range(count - 1)]
    b = np.zeros((count, count))
    for i, roots in enumerate([*others, points]):
        coefficients = np.polynomial.polynomial.polyfromroots(roots)
        b[: len(coefficients), i] = coefficients
    scales = [np.prod(point - roots) for point, roots in zip(points, others, strict=True)]
    a, g = (_values(points, length) for length in (outputs, taps))
    return a, g / np.array([*scales, 1.0])[:, None], b


def _values(points: np.ndarray, length: int) -> np.ndarray:
    """(points + 1, length): what gives the values of a polynomial at the points and infinity."""
    return np.vstack([np.vander(points, length, increasing=True), np.eye(length)[-1]])


def _on_both_axes(high: np.ndarray, wide: np.ndarray, maps: tf.Tensor) -> tf.Tensor:
    """(H, W, M, N) maps -> (H', W', M, N), by (H', H) and (W', W) matrices."""
    height, width, _, last = maps.shape
    high, wide = (tf.constant(matrix, maps.dtype) for matrix in (high, wide))
    maps = tf.matmul(high, tf.reshape(maps, (height, -1)))
    maps = tf.matmul(wide[None], tf.reshape(maps, (high.shape[0], width, -1)))
    return tf.reshape(maps, (high.shape[0], wide.shape[0], -1, last))


def _points_first(maps: tf.Tensor, high: _Axis, wide: _Axis, matrix: tuple[int, int]) -> tf.Tensor:
    """(points and tiles of each axis, B, C) -> (points of both, tiles of both and B, C)."""
    if high.tiles * wide.tiles > 1:
        maps = tf.reshape(maps, (high.points, high.tiles, wide.points, wide.tiles, -1))
        maps = tf.transpose(maps, (0, 2, 1, 3, 4))
    return tf.reshape(maps, (high.points * wide.points, *matrix))


def _tiles_beside(
    products: tf.Tensor, high: _Axis, wide: _Axis, matrix: tuple[int, int]
) -> tf.Tensor:
    """The other way round."""
    if high.tiles * wide.tiles > 1:
        shape = (high.points, wide.points, high.tiles, wide.tiles, -1)
        products = tf.transpose(tf.reshape(products, shape), (0, 2, 1, 3, 4))
    return tf.reshape(products, (high.points * high.tiles, wide.points * wide.tiles, *matrix))
