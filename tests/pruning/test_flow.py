"""SynFlow: against PyTorch, its conservation, its rounds, and what has no flow."""

import numpy as np
import pytest
from golden import SYNFLOW, SYNFLOW_ROUNDS, wave
from pruned import kernel

from tfprune.backend import keras
from tfprune.errors import TfpruneError, UsageError
from tfprune.pruning.criteria import score
from tfprune.pruning.flow import FlowGradients
from tfprune.pruning.prunable import prunables
from tfprune.pruning.pruner import get_masks, prune

layers = keras.layers


@pytest.fixture
def conv_net():
    """The network of the golden values, with biases, shifts and activations to be left out."""
    model = keras.Sequential(
        [
            keras.Input((3, 3, 1)),
            layers.Conv2D(2, 2, name="conv"),
            layers.BatchNormalization(name="bn", epsilon=1e-3),
            layers.Activation("tanh"),
            layers.Flatten(),
            layers.Dense(3, activation="sigmoid", name="fc1"),
            layers.Dropout(0.5),
            layers.Dense(2, name="fc2"),
            layers.Softmax(),
        ]
    )
    weights = {
        "conv": [wave((2, 2, 1, 2), 1.0), [0.5, -0.5]],
        "bn": [[-0.5, 2.0], [1.0, -1.0], [0.3, -0.2], [1.0, 4.0]],
        "fc1": [wave((8, 3), 1.7), [1.0, 2.0, -3.0]],
        "fc2": [wave((3, 2), 0.6), [0.1, 0.1]],
    }
    for name, arrays in weights.items():
        model.get_layer(name).set_weights([np.array(array) for array in arrays])
    return model


def scores(model):
    group = prunables(model)
    found = FlowGradients(model, group)({p.name: None for p in group})
    rng = np.random.default_rng(0)
    return {p.name: score("synflow", kernel(model, p.name), rng, found[p.name]) for p in group}


def test_synflow_agrees_with_torch_and_changes_no_bit(conv_net):
    before = [w.tobytes() for w in conv_net.get_weights()]
    found = scores(conv_net)
    np.testing.assert_allclose(found["conv"].ravel(), np.ravel(SYNFLOW[0]), rtol=1e-5)
    np.testing.assert_allclose(found["fc1"], SYNFLOW[1], rtol=1e-5)
    assert [w.tobytes() for w in conv_net.get_weights()] == before


@pytest.mark.parametrize("rounds", SYNFLOW_ROUNDS)
def test_rounds_agree_with_torch(conv_net, rounds):
    pruned = prune(conv_net, 0.7, criterion="synflow", criterion_rounds=rounds)
    masks = get_masks(pruned)
    found = np.concatenate([masks["conv/kernel"].ravel(), masks["fc1/kernel"].ravel()])
    np.testing.assert_array_equal(found, [digit == "1" for digit in SYNFLOW_ROUNDS[rounds]])


def test_flow_is_conserved_in_a_deep_network(draw_weights):
    """Tanaka et al. 2020, theorem 2: all of R goes through each layer of a chain."""
    model = keras.Sequential(
        [keras.Input((50,))]
        + [layers.Dense(50, activation="relu", name=f"fc{i}") for i in range(30)]
    )
    model.set_weights([100 * w for w in draw_weights(model).get_weights()])  # R above 1e100
    for found in scores(model).values():
        assert found.sum() == pytest.approx(1, abs=1e-4)


def test_a_hundred_rounds_spare_the_wide_layers_that_one_round_empties(draw_weights):
    """Tanaka et al. 2020, figure 2: scored once, the widest layer collapses first."""
    widths = (40, 40, 3, 40, 2)
    model = keras.Sequential(
        [keras.Input((20,))] + [layers.Dense(w, name=f"fc{i}") for i, w in enumerate(widths)]
    )
    draw_weights(model, seed=1)
    names = [f"fc{i}" for i in range(4)]
    kept = {}
    for rounds in (1, None):
        pruned = prune(model, 0.99, criterion="synflow", criterion_rounds=rounds)
        kept[rounds] = [int(get_masks(pruned)[f"{name}/kernel"].sum()) for name in names]
    assert sum(kept[1]) == sum(kept[None]) == 26  # of 800 + 1600 + 120 + 120
    assert min(kept[1]) == 1 and min(kept[None]) >= 5


def test_branches_wrappers_and_in_place(branched):
    wrapped = prune(branched, 0.0)
    assert prune(wrapped, 0.6, criterion="synflow", criterion_rounds=3, in_place=True) is wrapped
    copy = prune(branched, 0.6, criterion="synflow", criterion_rounds=3)
    for key, mask in get_masks(copy).items():
        np.testing.assert_array_equal(get_masks(wrapped)[key], mask)


def test_mixed_precision_is_scored_in_float64(conv_net):
    config = conv_net.get_config()
    for layer in config["layers"]:
        if layer["class_name"] in ("Conv2D", "Dense"):
            layer["config"]["dtype"] = "mixed_float16"
    half = keras.Sequential.from_config(config)
    half.set_weights(conv_net.get_weights())
    for name, expected in scores(conv_net).items():
        np.testing.assert_array_equal(scores(half)[name], expected)


def test_networks_without_flow(draw_weights):
    words = keras.Input((4,), dtype="int32")
    x = layers.Flatten()(layers.Embedding(5, 3, name="words")(words))
    model = keras.Model(words, layers.Dense(2, name="out")(layers.Dense(3, name="fc")(x)))
    with pytest.raises(UsageError, match="Received: layer 'words' of type Embedding"):
        prune(model, 0.5, criterion="synflow")
    inputs = keras.Input((None, None, 1))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 2, name="conv")(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="out")(x))
    with pytest.raises(UsageError, match=r"known size. Received: float32 of shape \(None, None"):
        prune(model, 0.5, criterion="synflow")
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="a"), layers.Dense(2)])
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    with pytest.raises(TfpruneError, match="no way through the network: its flow is 0"):
        prune(model, 0.5, criterion="synflow")
