"""Small models with weights that are the same in every test run."""

import numpy as np
import pytest

from tfprune.backend import keras

layers = keras.layers


@pytest.fixture(scope="session")
def draw_weights():
    """Gives a function that draws all weights of a model anew, and hands the model back."""

    def draw(model, seed=0):
        rng = np.random.default_rng(seed)
        # Not around zero: the square roots of batch norms need positive variances.
        model.set_weights([rng.uniform(0.05, 1, w.shape) for w in model.get_weights()])
        for layer in model.layers:
            if not isinstance(layer, (layers.BatchNormalization, keras.Model)):
                layer.set_weights([w - 0.4 for w in layer.get_weights()])
        return model

    return draw


@pytest.fixture
def lenet(draw_weights):
    """LeNet-5's two convolutions (150 and 2400 weights), each with a batch norm."""
    inputs = keras.Input((16, 16, 1), name="image")
    x = layers.Conv2D(6, 5, name="conv1")(inputs)
    x = layers.BatchNormalization(name="bn1")(x)
    x = layers.MaxPooling2D(2, name="pool1")(layers.ReLU(name="relu1")(x))
    x = layers.Conv2D(16, 5, name="conv2")(x)
    x = layers.BatchNormalization(name="bn2")(x)
    x = layers.Flatten(name="flat")(layers.ReLU(name="relu2")(x))
    x = layers.Dense(12, activation="relu", name="fc1")(x)
    return draw_weights(keras.Model(inputs, layers.Dense(3, name="fc2")(x), name="lenet"))


@pytest.fixture
def mlp(draw_weights):
    """Dense layers of 4 x 6, 6 x 5 and 5 x 2 weights."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, activation="relu", name="fc1"),
            layers.Dense(5, activation="relu", name="fc2"),
            layers.Dense(2, name="fc3"),
        ],
        name="mlp",
    )
    return draw_weights(model)


@pytest.fixture
def branched(draw_weights):
    """Two inputs, a nested model, a layer used twice, a sum, two outputs."""
    left, right = keras.Input((6, 6, 2), name="left"), keras.Input((6, 6, 2), name="right")
    inner = keras.Input((6, 6, 2))
    block = keras.Model(inner, layers.Conv2D(4, 3, name="conv1")(inner), name="block")
    shared = layers.Conv2D(3, 1, name="shared")
    both = layers.Add(name="sum")([shared(block(left)), shared(block(right))])
    flat = layers.Flatten(name="flat")(both)
    first = layers.Dense(2, name="head1")(layers.Dense(5, name="fc1")(flat))
    second = layers.Softmax(name="prob")(layers.Dense(3, name="head2")(flat))
    return draw_weights(keras.Model([left, right], [first, second], name="branched"))
