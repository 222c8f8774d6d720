"""The LeNets: two convolutional ones and the fully connected LeNet-300-100.

Source: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-Based Learning Applied to
Document Recognition", with the ReLU units and max pools of today's pruning literature.
"""

from __future__ import annotations

from tfprune.backend import keras


def lenet5(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """LeNet-5: conv 6@5x5, conv 16@5x5, dense 120, 84, classes.

    Valid padding and a 2x2 max pool after each convolution, so that a side of n pixels is
    ((n - 4) // 2 - 4) // 2 at the first dense layer: 4 for the 28 pixels of MNIST. There
    it has 44,426 parameters, 2,550 of them convolution kernels (6 * 25 + 6 * 16 * 25), as
    in the published tables.

    Args:
        input_shape: (height, width, channels), at least 16 x 16 pixels.
        classes: width of the output layer `fc3`.
    """
    return _convolutional("lenet5", input_shape, (6, 16), (120, 84), classes)


def lenet5_caffe(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """LeNet-5 as Caffe ships it: conv 20@5x5, conv 50@5x5, dense 500, classes.

    The network of Han et al. 2015 ("Learning both Weights and Connections", table 4) and
    of most compression records: 431,080 parameters on 28 x 28 x 1 images with 10 classes.
    Caffe's own definition has a ReLU after the hidden dense layer only; here, as in the
    later literature, the convolutions have one too, which changes no shape.

    Args:
        input_shape: (height, width, channels), at least 16 x 16 pixels.
        classes: width of the output layer `fc2`.
    """
    return _convolutional("lenet5_caffe", input_shape, (20, 50), (500,), classes)


def lenet300_100(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """LeNet-300-100: dense 300, 100, classes.

    The fully connected network of Han et al. 2015 (table 3): 266,610 parameters on
    28 x 28 x 1 images with 10 classes.

    Args:
        input_shape: (height, width, channels) of any size.
        classes: width of the output layer `fc3`.
    """
    images = keras.Input(input_shape, name="images")
    logits = _dense(keras.layers.Flatten(name="flatten")(images), (300, 100), classes)
    return keras.Model(images, logits, name="lenet300_100")


def _convolutional(
    name: str,
    input_shape: tuple[int, int, int],
    filters: tuple[int, ...],
    hidden: tuple[int, ...],
    classes: int,
) -> keras.Model:
    """5x5 convolutions, each with a 2x2 max pool, then dense layers."""
    images = keras.Input(input_shape, name="images")
    x = images
    for i, count in enumerate(filters, start=1):
        x = keras.layers.Conv2D(
            count, 5, activation="relu", kernel_initializer="he_normal", name=f"conv{i}"
        )(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool{i}")(x)
    logits = _dense(keras.layers.Flatten(name="flatten")(x), hidden, classes)
    return keras.Model(images, logits, name=name)


def _dense(x: keras.KerasTensor, hidden: tuple[int, ...], classes: int) -> keras.KerasTensor:
    """ReLU layers of `hidden` units, then the logits."""
    for i, units in enumerate(hidden, start=1):
        x = keras.layers.Dense(
            units, activation="relu", kernel_initializer="he_normal", name=f"fc{i}"
        )(x)
    return keras.layers.Dense(
        classes, kernel_initializer="glorot_uniform", name=f"fc{len(hidden) + 1}"
    )(x)
