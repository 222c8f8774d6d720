import numpy as np
import pytest

from tfprune.backend import keras, tf
from tfprune.errors import TfpruneError
from tfprune.training.objective import Objective, check_fit, gives_probabilities

layers = keras.layers


def model(*tail, classes=3):
    body = [layers.Flatten(), layers.Dense(classes)]
    return keras.Sequential([keras.Input((4, 4, 1)), *body, *tail])


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ((), False),
        ((layers.Softmax,), True),
        ((lambda: layers.Activation("softmax"),), True),
        ((lambda: layers.Dense(3, activation="softmax"),), True),
        ((lambda: layers.Dense(3, activation="relu"),), False),
    ],
)
def test_a_softmax_at_the_end_is_recognised(tail, expected):
    assert gives_probabilities(model(*(make() for make in tail))) is expected


def test_a_softmax_at_the_end_of_a_nested_model_is_recognised():
    assert gives_probabilities(keras.Sequential([keras.Input((4, 4, 1)), model(layers.Softmax())]))


def test_the_loss_is_cross_entropy_by_hand():
    # p = softmax([0, ln 2, ln 5]) = [1, 2, 5] / 8; label 1: -ln(2 / 8) = 1.3863
    logits = np.log([[1.0, 2.0, 5.0]]).astype(np.float32)
    labels = tf.constant([1])
    assert float(Objective(model()).loss(labels, logits)) == pytest.approx(np.log(4))
    # s = 0.3: t = [0.1, 0.8, 0.1]: 0.1 ln 8 + 0.8 ln 4 + 0.1 ln 1.6
    smoothed = 0.1 * np.log(8) + 0.8 * np.log(4) + 0.1 * np.log(1.6)
    assert float(Objective(model(), 0.3).loss(labels, logits)) == pytest.approx(smoothed)
    probabilities = np.exp(logits) / 8
    assert float(
        Objective(model(layers.Softmax()), 0.3).loss(labels, probabilities)
    ) == pytest.approx(smoothed, rel=1e-5)


def test_correct_counts_the_largest_output_at_the_label():
    outputs = tf.constant([[1.0, 2.0, 0.0], [3.0, 2.0, 1.0], [0.0, 0.0, 1.0]])
    assert int(Objective.correct(tf.constant([1, 1, 2]), outputs)) == 2


@pytest.mark.parametrize(
    ("shape", "classes", "message"),
    [
        ((5, 4, 1), 3, r"images of shape \(4, 4, 1\), the data set has \(5, 4, 1\)"),
        ((4, 4), 3, r"the data set has \(4, 4\)"),
        ((4, 4, 1), 10, r"output has shape \(3,\), the data set 10 classes"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused(shape, classes, message):
    with pytest.raises(TfpruneError, match=message):
        check_fit(model(), shape, classes)


def test_a_model_with_two_inputs_is_refused():
    inputs = [keras.Input((3,)), keras.Input((3,))]
    with pytest.raises(TfpruneError, match="the model has 2 and 1"):
        check_fit(keras.Model(inputs, layers.Add()(inputs)), (3,), 3)


def any_size(shape):
    image = keras.Input(shape)
    convolved = layers.Conv2D(2, 3)(image)
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(convolved)))


@pytest.mark.parametrize("shape", [(None, None, 1), (9, None, 1)])
def test_open_sizes_are_refused_and_what_the_message_advises_is_the_same_network(shape):
    model = any_size(shape)
    with pytest.raises(TfpruneError, match=r"on keras.Input\(\(9, 9, 1\)\), then") as error:
        check_fit(model, (9, 9, 1), 3)
    assert str(error.value).startswith(f"the model takes images of shape {shape}, and")
    new = any_size((9, 9, 1))
    new.set_weights(model.get_weights())
    check_fit(new, (9, 9, 1), 3)
    images = np.random.default_rng(0).random((2, 9, 9, 1)).astype(np.float32)
    np.testing.assert_array_equal(new(images), model(images))


def test_open_sizes_inside_a_nested_model_are_refused():
    nested = keras.Sequential([keras.Input((9, 9, 1)), any_size((None, None, 1))])
    with pytest.raises(TfpruneError, match="macs need images of known size; build the model with"):
        check_fit(nested, (9, 9, 1), 3)
