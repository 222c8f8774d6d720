"""VGG-16 with batch normalisation.

Source: Simonyan and Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale
Image Recognition", configuration D; batch norm after every convolution as in the
`vgg16_bn` of torchvision.
"""

from __future__ import annotations

from tfprune.backend import keras
from tfprune.models.alexnet import dense_head

#: Filters of the 3x3 convolutions, block by block; a max pool ends each block.
_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

# The reference networks were trained with batch norm averages that keep 0.9 of their value
# a step and with 1e-5 added to the variance. Keras's 0.99 would still carry the weights of
# some hundred steps ago when a freshly pruned network is tested after a short retraining,
# and its 1e-3 is not small beside the variances of channels that pruning has thinned out.
_BN_MOMENTUM = 0.9
_BN_EPSILON = 1e-5


def vgg16_bn(
    input_shape: tuple[int, int, int], classes: int, *, dropout: float = 0.5
) -> keras.Model:
    """VGG-16-BN: 13 convolutions, dense 4096, 4096, classes.

    Convolutions have no bias: the shift of the batch norm behind them takes its place.
    The 2x2 max pools pad ('same'), so that images of 16 or 24 pixels still have one pixel
    left after the fifth: a side of n pixels is n / 32, rounded up, at the first dense
    layer. Parameters: 33,650,890 on 32 x 32 x 3 images with 10 classes, 138,370,216 on
    224 x 224 x 3 with 1000; 8,448 of them are batch norm averages.

    Args:
        input_shape: (height, width, channels) of any size.
        classes: width of the output layer `fc3`.
        dropout: rate in [0, 1) after fc1 and fc2.

    Raises:
        UsageError: `dropout` out of range.
    """
    images = keras.Input(input_shape, name="images")
    x = images
    i = 0
    for block, widths in enumerate(_BLOCKS, start=1):
        for filters in widths:
            i += 1
            x = keras.layers.Conv2D(
                filters,
                3,
                padding="same",
                use_bias=False,
                kernel_initializer="he_normal",
                name=f"conv{i}",
            )(x)
            x = keras.layers.BatchNormalization(
                momentum=_BN_MOMENTUM, epsilon=_BN_EPSILON, name=f"bn{i}"
            )(x)
            x = keras.layers.ReLU(name=f"relu{i}")(x)
        x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool{block}")(x)
    logits = dense_head(keras.layers.Flatten(name="flatten")(x), classes, dropout)
    return keras.Model(images, logits, name="vgg16_bn")
