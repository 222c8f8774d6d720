"""Gradients of the loss: against PyTorch, on any form of data, without a trace on the model."""

import numpy as np
import pytest
from golden import SNIP, wave
from pruned import kernel, zeros

from tfprune.backend import keras, tf
from tfprune.errors import UsageError
from tfprune.pruning.criteria import CRITERIA, criterion, score
from tfprune.pruning.gradients import LossGradients
from tfprune.pruning.prunable import prunables
from tfprune.pruning.pruner import get_masks, prune

layers = keras.layers
X, Y = wave((5, 3), 0.9), wave((5, 2), 2.3)


@pytest.fixture
def small():
    """Dense 3 -> 4, ReLU, dense 4 -> 2, without biases, with the weights of the golden values."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, activation="relu", use_bias=False, name="fc1"),
            layers.Dense(2, use_bias=False, name="fc2"),
        ]
    )
    model.set_weights([wave((3, 4), 1.0), wave((4, 2), 1.7)])
    return model


def snip_scores(model, data, loss="mse"):
    group = prunables(model)
    found = LossGradients(model, group, data, loss)({p.name: None for p in group})
    rng = np.random.default_rng(0)
    return [score("snip", kernel(model, p.name), rng, found[p.name]) for p in group]


DATA = {
    "arrays": (X, Y),
    "batches": [(X[:2], Y[:2]), (X[2:], Y[2:])],
    "dataset": tf.data.Dataset.from_tensor_slices((X, Y)).batch(2),
}


@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_snip_agrees_with_torch(small, data):
    for found, expected in zip(snip_scores(small, data), SNIP, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_snip_prunes_what_scores_lowest_and_the_model_keeps_every_bit(small):
    before = [w.tobytes() for w in small.get_weights()]
    pruned = prune(small, 0.5, layers=["fc1", "fc2"], criterion="snip", data=(X, Y), loss="mse")
    everything = np.concatenate([np.ravel(part) for part in SNIP])
    cut = np.sort(everything)[9]
    assert zeros(pruned, "fc1", "fc2") == [int((np.array(part) <= cut).sum()) for part in SNIP]
    np.testing.assert_array_equal(get_masks(pruned)["fc1/kernel"], np.array(SNIP[0]) > cut)
    assert [w.tobytes() for w in small.get_weights()] == before


def test_the_loss_is_that_of_the_compiled_model_unless_given(small):
    loss = keras.losses.MeanSquaredError()
    small.compile("adam", loss)
    for found, expected in zip(snip_scores(small, (X, Y), None), SNIP, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    doubled = snip_scores(small, (X, Y), lambda y, out: 2 * loss(y, out))
    np.testing.assert_allclose(doubled[0], 2 * np.array(SNIP[0]), rtol=1e-4, atol=1e-7)


def test_rounds_score_the_masked_network_anew(small):
    """Two rounds are two prunings, the second of the first's result."""
    options = {"layers": ["fc1", "fc2"], "criterion": "snip", "data": (X, Y), "loss": "mse"}
    first = prune(small, 1 - 0.3**0.5, **options)
    second = prune(first, 0.7, **options)
    at_once = prune(small, 0.7, criterion_rounds=2, **options)
    for key, mask in get_masks(second).items():
        np.testing.assert_array_equal(get_masks(at_once)[key], mask)
    single = prune(small, 0.7, **options)
    assert any((get_masks(single)[key] != mask).any() for key, mask in get_masks(second).items())


def test_dropout_is_off_and_nothing_moves(draw_weights):
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(6, name="fc1", trainable=False),
            layers.BatchNormalization(name="bn"),
            layers.Dropout(0.5),
            layers.Dense(2, name="fc2"),
        ]
    )
    draw_weights(model)
    before = [v.numpy().tobytes() for v in model.variables]
    first, again = (snip_scores(model, (X, Y)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (first[0] > 0).any()  # of a layer that is not trained, too
    assert [v.numpy().tobytes() for v in model.variables] == before


def test_several_inputs_and_outputs(branched):
    inputs = [wave((4, *i.shape[1:]), 0.1 * k) for k, i in enumerate(branched.inputs, 1)]
    outputs = [wave((4, *o.shape[1:]), 0.3 * k) for k, o in enumerate(branched.outputs, 1)]

    def loss(y, out):
        return tf.add_n([tf.reduce_mean((a - b) ** 2) for a, b in zip(y, out, strict=True)])

    pruned = prune(branched, 0.5, criterion="snip", data=(inputs, outputs), loss=loss)
    names = [key.removesuffix("/kernel") for key in get_masks(pruned) if key.endswith("kernel")]
    size = sum(kernel(branched, name).size for name in names)
    assert sum(zeros(pruned, *names)) == size // 2


def test_a_newcomer_with_a_gradient(small, monkeypatch):
    monkeypatch.setattr("tfprune.pruning.criteria.CRITERIA", dict(CRITERIA))

    @criterion("taylor", gradient="loss")
    def taylor(weights, gradient, rng):
        return (weights * gradient) ** 2

    options = {"data": (X, Y), "loss": "mse", "layers": ["fc1", "fc2"]}
    ours = prune(small, 0.5, criterion="taylor", **options)
    for key, mask in get_masks(prune(small, 0.5, criterion="snip", **options)).items():
        np.testing.assert_array_equal(get_masks(ours)[key], mask)


@pytest.mark.parametrize(
    ("data", "loss", "message"),
    [
        (None, "mse", r"data=\(x, y\).*Received: data=None"),
        (3, "mse", "iterable of such pairs. Received: int"),
        ([X, Y], "mse", "iterable of such pairs. Received: ndarray in it"),
        ((X, Y[:2]), "mse", "equally many samples. Received: 2, 5"),
        ((X[:0], Y[:0]), "mse", "no samples"),
        ((X, Y), None, r"needs the loss: .*Received: None"),
        ((X, Y), "taste", "Keras has none of that name. Received: 'taste'"),
        ((X, Y), {"fc2": "mse"}, "compiled with one loss. Received: {'fc2': 'mse'}"),
    ],
)
def test_data_and_losses_that_cannot_be_used(small, data, loss, message):
    with pytest.raises(UsageError, match=message):
        prune(small, 0.5, criterion="snip", data=data, loss=loss)
