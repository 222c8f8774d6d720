"""AlexNet, one tower wide, for small and large images.

Source: Krizhevsky, Sutskever and Hinton 2012, "ImageNet Classification with Deep
Convolutional Neural Networks", without its groups and response normalisation.
"""

from __future__ import annotations

from tfprune.backend import keras
from tfprune.errors import UsageError

CONV1_STRIDES = (1, 2, 4)

#: (filters, kernel side, max pool behind it) of conv1 .. conv5.
_CONVOLUTIONS = ((96, 11, True), (256, 5, True), (384, 3, False), (384, 3, False), (256, 3, True))


def alexnet(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    dropout: float = 0.5,
    conv1_stride: int = 2,
) -> keras.Model:
    """AlexNet: five convolutions, dense 4096, 4096, classes; no groups, no batch norm.

    'same' padding everywhere and 2x2 max pools after conv1, conv2 and conv5: a side of n
    pixels is n / (8 * conv1_stride), rounded up, at the first dense layer. On 32 x 32 x 3
    images with 10 classes and stride 2 it has 24,767,882 parameters.

    Args:
        input_shape: (height, width, channels) of any size.
        classes: width of the output layer `fc3`.
        dropout: rate in [0, 1) after fc1 and fc2.
        conv1_stride: 1, 2 or 4. The original has 4 at 224 pixels; the published CIFAR-10
            table does not say which one it used, every kernel but fc1's is the same.

    Raises:
        UsageError: `dropout` or `conv1_stride` out of range.
    """
    if conv1_stride not in CONV1_STRIDES:
        raise UsageError(
            f"conv1_stride must be one of {', '.join(map(str, CONV1_STRIDES))}. "
            f"Received: {conv1_stride}"
        )
    images = keras.Input(input_shape, name="images")
    x = images
    pools = 0
    for i, (filters, side, pooled) in enumerate(_CONVOLUTIONS, start=1):
        x = keras.layers.Conv2D(
            filters,
            side,
            strides=conv1_stride if i == 1 else 1,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"conv{i}",
        )(x)
        if pooled:
            pools += 1
            x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool{pools}")(x)
    logits = dense_head(keras.layers.Flatten(name="flatten")(x), classes, dropout)
    return keras.Model(images, logits, name="alexnet")


def dense_head(x: keras.KerasTensor, classes: int, dropout: float) -> keras.KerasTensor:
    """The classifier that AlexNet and VGG share: 4096, 4096, classes, with dropout.

    Args:
        x: features (N, F).
        classes: width of the output layer `fc3`.
        dropout: rate in [0, 1) after fc1 and fc2; at 0 the layers stay and do nothing, so
            that the layer names do not depend on the rate.

    Returns:
        Logits (N, classes).

    Raises:
        UsageError: `dropout` out of range.
    """
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout must be in [0, 1). Received: {dropout}")
    for i in (1, 2):
        x = keras.layers.Dense(
            4096, activation="relu", kernel_initializer="he_normal", name=f"fc{i}"
        )(x)
        x = keras.layers.Dropout(dropout, name=f"dropout{i}")(x)
    return keras.layers.Dense(classes, kernel_initializer="glorot_uniform", name="fc3")(x)
