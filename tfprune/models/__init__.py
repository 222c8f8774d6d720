"""The networks of the published experiments, by name.

This registry is the one place to extend: a network is a module of this package with a
function `network(input_shape, classes, ...) -> keras.Model` and a line in `NETWORKS`.
Reading the names costs nothing; TensorFlow is imported when a network is built.

Every network takes images (N, H, W, C) as floating-point numbers and returns logits
(N, classes), no softmax. Layers are named by kind and number: `conv1`, `bn1`, `pool1`,
`fc1`, `dropout1`, ...; the last `fc` is the output layer.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfprune.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfprune.backend import keras


@dataclass(frozen=True)
class Network:
    """Where a network's function is and what it accepts; calling it builds the model.

    Attributes:
        module: module of this package, imported on the first call.
        function: name of the function in it.
        options: keyword arguments the function takes beside input shape and classes.
        smallest_side: the fewest pixels of height and width it can work on.
    """

    module: str
    function: str
    options: tuple[str, ...] = ()
    smallest_side: int = 1

    def __call__(
        self, input_shape: tuple[int, int, int], classes: int, **options: Any
    ) -> keras.Model:
        """Builds the network for images of `input_shape` (H, W, C)."""
        module = importlib.import_module(f"{__name__}.{self.module}")
        return getattr(module, self.function)(input_shape, classes, **options)


NETWORKS: dict[str, Network] = {
    "lenet5": Network("lenet", "lenet5", smallest_side=16),
    "lenet5_caffe": Network("lenet", "lenet5_caffe", smallest_side=16),
    "lenet300_100": Network("lenet", "lenet300_100"),
    "alexnet": Network("alexnet", "alexnet", options=("dropout", "conv1_stride")),
    "vgg16_bn": Network("vgg", "vgg16_bn", options=("dropout",)),
}

#: The names `build` knows, in the order in which they are shown to users.
NETWORK_NAMES: tuple[str, ...] = tuple(NETWORKS)


def build(
    name: str,
    input_shape: Sequence[int],
    classes: int,
    *,
    dropout: float | None = None,
    conv1_stride: int | None = None,
) -> keras.Model:
    """Builds a network of the registry with fresh weights.

    Args:
        name: one of `NETWORK_NAMES`.
        input_shape: (height, width, channels) of one image, in pixels.
        classes: width of the output layer, at least 2.
        dropout: rate in [0, 1) of the dropout after each hidden dense layer of `alexnet`
            and `vgg16_bn`; None is the network's default, 0.5.
        conv1_stride: stride of the first convolution of `alexnet`, 1, 2 or 4; None is 2.

    Returns:
        A functional model named `name` that gives logits.

    Raises:
        UsageError: unknown network, an option it does not have or a value out of range,
            fewer than two classes, or images too small for it.
    """
    if name not in NETWORKS:
        raise UsageError(f"network must be one of {', '.join(NETWORK_NAMES)}. Received: {name!r}")
    network = NETWORKS[name]
    _check_images(name, network, input_shape)
    if classes < 2:
        raise UsageError(f"{name} needs at least 2 classes. Received: {classes}")
    given = {"dropout": dropout, "conv1_stride": conv1_stride}
    options = {option: value for option, value in given.items() if value is not None}
    for option, value in options.items():
        if option not in network.options:
            has = ", ".join(network.options) or "no options"
            raise UsageError(f"{name} has no {option}; it has {has}. Received: {option}={value}")
    height, width, channels = input_shape
    return network((height, width, channels), classes, **options)


def _check_images(name: str, network: Network, input_shape: Sequence[int]) -> None:
    shape = tuple(input_shape)
    if len(shape) != 3 or any(not size or size < 1 for size in shape):
        raise UsageError(
            "input_shape must be (height, width, channels), three positive numbers. "
            f"Received: {shape}"
        )
    side = network.smallest_side
    if min(shape[:2]) < side:
        raise UsageError(
            f"{name} needs images of at least {side}x{side} pixels. Received: {shape[0]}x{shape[1]}"
        )
