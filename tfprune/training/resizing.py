"""Progressive resizing: the first epochs see smaller images, which cost less.

A convolution costs as much as its image has pixels, and its kernels fit images of any side: a
network learns its coarse features from small images in a fraction of the time, and the last
epochs at full size set it right. It needs a network that ends in the same shape for both, as
VGG-16 does for 16 and 32 pixels.

Source: Howard 2018, "Now anyone can train Imagenet in 18 minutes" (fast.ai, DAWNBench).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import Any

from tfprune.backend import tf
from tfprune.errors import UsageError
from tfprune.training.convolutions import fast_convolutions, idle_taps

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Resizing:
    """Sides of the images of the first epochs; full size from there on.

    Attributes:
        sides: (side in pixels, number of epochs), one after the other.
    """

    sides: tuple[tuple[int, int], ...] = ()

    def side_at(self, epoch: int) -> int:
        """The side of the images of an epoch (from 0), in pixels; 0 for full size."""
        for side, epochs in self.sides:
            if epoch < epochs:
                return side
            epoch -= epochs
        return 0

    def check(self, model: Any) -> None:
        """Makes sure that a model takes images of every side; warns of weights that do not train.

        Args:
            model: a built Keras classifier of images (H, W, C).

        Raises:
            UsageError: a side is not below the full one, or the model does not take it.
        """
        height, width, channels = model.input_shape[1:]
        whole = idle_taps(model, (height, width, channels)) if self.sides else {}
        for side, _ in self.sides:
            if side >= min(height, width):
                raise UsageError(
                    f"images of {height} x {width} pixels do not become smaller at a side of {side}"
                )
            try:
                with _any_shape(model):
                    idle = idle_taps(model, (side, side, channels))
            except (ValueError, tf.errors.InvalidArgumentError):
                raise UsageError(
                    f"{model.name!r} does not take images of {side} x {side} pixels: its shapes "
                    f"there are not those that its weights have at {height} x {width}"
                ) from None
            _warn(side, [name for name in idle if idle[name] > whole.get(name, 0)])


def resized(images: tf.Tensor, side: int) -> tf.Tensor:
    """(B, H, W, C) images -> (B, side, side, C) float32, means over areas; 0: as they are."""
    return tf.image.resize(images, (side, side), method="area") if side else images


def forward_at(
    model: Any, side: int, precision: str = "float32", *, training: bool = True
) -> Callable[[tf.Tensor], tf.Tensor]:
    """What computes a model's outputs, as in training or not, on images of a side (0: its own).

    `precision` is what the graph around it multiplies in.
    """

    def forward(images: tf.Tensor) -> tf.Tensor:
        any_shape = _any_shape(model) if side else contextlib.nullcontext()
        with fast_convolutions(model, precision), any_shape:
            return model(images, training=training)

    return forward


def _warn(side: int, layers: list[str]) -> None:
    """Says which layers have weights that do not train at a side.

    Adam divides by the mean of squared gradients, which is 0 after epochs without any: VGG-16's
    conv11 to conv13, of one pixel at a side of 16, came out of it with weights of twice their
    initial size, which magnitude then takes for important ones.
    """
    if layers:
        _LOG.warning(
            "images of %d pixels a side are too small for %s: some of their taps see padding alone "
            "and do not train, and their first gradients at a larger side move them far",
            side,
            ", ".join(layers),
        )


@contextlib.contextmanager
def _any_shape(model: Any) -> Iterator[None]:
    """Within it the model does not ask for the shape of input that it was built with."""
    specification = model.input_spec
    model.input_spec = None
    try:
        yield
    finally:
        model.input_spec = specification
