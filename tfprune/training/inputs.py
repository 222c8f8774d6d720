"""From uint8 pixels to model inputs, in the graph: random augmentation, then normalisation.

A data set stays in memory as uint8; only the images of one batch ever become floats.
Everything random is a function of a seed that the caller derives from (seed, stage,
step), so that a resumed run sees the same images.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfprune.backend import tf


@dataclasses.dataclass(frozen=True)
class Normalization:
    """inputs = pixels * scale + offset, a channel each: float32, shape (C,)."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    @classmethod
    def of(cls, kind: str, images: np.ndarray) -> Normalization:
        """The normalisation of a kind, its statistics taken from training images.

        Args:
            kind: "unit" (x / 255), "standardize" (mean 0, variance 1 a channel) or "none".
            images: training images, uint8, shape (N, H, W, C).
        """
        channels = images.shape[-1]
        if kind == "none":
            return cls((1.0,) * channels, (0.0,) * channels)
        if kind == "unit":
            return cls((1 / 255,) * channels, (0.0,) * channels)
        mean, deviation = pixel_statistics(images)
        deviation = np.maximum(deviation, 1.0)  # a channel that never changes stays finite
        return cls(tuple(1 / deviation), tuple(-mean / deviation))

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) pixels in [0, 255] -> (B, H, W, C) float32."""
        scale = tf.constant(self.scale, tf.float32)
        return tf.cast(images, tf.float32) * scale + tf.constant(self.offset, tf.float32)


@dataclasses.dataclass(frozen=True)
class NormalizedImages:
    """A set of images as model inputs; only the slice that is asked for becomes floats.

    Attributes:
        images: (N, H, W, C) uint8.
        normalization: of their pixels.
    """

    images: np.ndarray
    normalization: Normalization

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, part: slice, /) -> np.ndarray:
        """(n, H, W, C) float32."""
        return self.normalization(self.images[part]).numpy()


def pixel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, exact, from counts of the 256 values.

    Counting needs no float copy of the data set. Shapes: (N, H, W, C) -> (C,), (C,).
    """
    values = np.arange(256)
    counts = np.stack(
        [np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])]
    )
    weights = counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    return mean, np.sqrt(np.maximum(weights @ values**2 - mean**2, 0))


def _gather_columns(images: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """(B, H, W, C) images, (B, W) numbers of columns -> the images of those columns."""
    if images.shape[-1] > 1:
        return tf.gather(images, columns, axis=2, batch_dims=1)
    # A gather copies a pixel a time; with one channel it is three times faster to lay the
    # columns out as rows and copy those.
    rows = tf.gather(tf.transpose(images, (0, 2, 1, 3)), columns, axis=1, batch_dims=1)
    return tf.transpose(rows, (0, 2, 1, 3))


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random shifts, horizontal flips and cutout of a batch of images.

    Attributes:
        shift: largest shift in pixels, both axes, less than either side of the images; what
            enters is the image reflected.
        flip: whether to mirror every other image, at random.
        cutout: side of a square at a random place that is set to `fill`; 0 for none.
        fill: the value of a cut-out pixel, a channel each.
    """

    shift: int = 0
    flip: bool = False
    cutout: int = 0
    fill: tuple[int, ...] = (0,)

    def __call__(
        self, images: tf.Tensor, seed: tf.Tensor, place: tuple[int, int] | None = None
    ) -> tf.Tensor:
        """(B, H, W, C) uint8 -> the same shape and type.

        Args:
            images: the batch, or a part of one.
            seed: int32, shape (2,): the only source of randomness.
            place: of a part (number of its first image, size of the batch): its images
                become what they would become within the batch. None: the whole.
        """
        batch = tf.shape(images)[0] if place is None else place[1]

        def mine(values: tf.Tensor) -> tf.Tensor:  # of all draws for a batch
            return values if place is None else values[place[0] : place[0] + images.shape[0]]

        height, width = images.shape[1], images.shape[2]
        if self.shift or self.flip:
            rows = self._source(height, batch, tf.stack([seed[0], seed[1] ^ 1]))
            columns = self._source(width, batch, tf.stack([seed[0], seed[1] ^ 2]))
            if self.flip:
                draw = tf.random.stateless_uniform(
                    (batch, 1), tf.stack([seed[0], seed[1] ^ 3]), 0, 2, tf.int32
                )
                columns = tf.where(draw == 1, columns[:, ::-1], columns)
            images = tf.gather(images, mine(rows), axis=1, batch_dims=1)
            images = _gather_columns(images, mine(columns))
        if self.cutout:
            rows = self._inside(height, batch, tf.stack([seed[0], seed[1] ^ 4]))
            columns = self._inside(width, batch, tf.stack([seed[0], seed[1] ^ 5]))
            square = (mine(rows)[:, :, None] & mine(columns)[:, None, :])[..., None]  # (B, H, W, 1)
            images = tf.where(square, tf.constant(self.fill, tf.uint8), images)
        return images

    def _source(self, size: int, batch: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """For each pixel of a shifted axis the pixel it comes from: (B, size) in [0, size)."""
        offset = tf.random.stateless_uniform(
            (batch, 1), seed, -self.shift, self.shift + 1, tf.int32
        )
        index = tf.abs(tf.range(size) + offset)
        return (size - 1) - tf.abs((size - 1) - index)

    def _inside(self, size: int, batch: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Which pixels of an axis the square covers: (B, size) bool; it lies wholly inside."""
        start = tf.random.stateless_uniform(
            (batch, 1), seed, 0, max(1, size - self.cutout + 1), tf.int32
        )
        index = tf.range(size)
        return (index >= start) & (index < start + self.cutout)
