import importlib

import numpy as np
import pytest
from pruned import kernel

import tfprune
from tfprune.errors import TfpruneError, UsageError
from tfprune.pruning.pruner import layer_sparsities, prune, strip
from tfprune.pruning.sensitivity import sensitivity


class Evaluator:
    """Notes the weights of each model it is asked to judge; more weights are better."""

    def __init__(self):
        self.models, self.seen = set(), []

    def __call__(self, model):
        self.models.add(id(model))
        self.seen.append([w.copy() for w in strip(model).get_weights()])
        return np.float32(1 - sum(layer_sparsities(model).values()) / 4)


def test_each_layer_alone_is_pruned_by_magnitude_and_the_others_are_dense(lenet):
    before = lenet.get_weights()
    evaluate = Evaluator()
    found = sensitivity(lenet, evaluate, layers="all", sparsities=(0.5, 0.9))
    assert len(evaluate.models) == 1  # wrapped once
    assert found.dense_accuracy == 1
    assert found.sizes == {"conv1": 150, "conv2": 2400, "fc1": 768}
    # fc1 loses floor(0.9 * 768 + 0.5) = 691.
    losses = {"conv1": (75 / 150, 135 / 150), "conv2": (0.5, 0.9), "fc1": (384 / 768, 691 / 768)}
    expected = [before]
    for name, pair in losses.items():
        assert found.curves[name] == tuple(
            (s, float(np.float32(1 - loss / 4))) for s, loss in zip((0.5, 0.9), pair, strict=True)
        )
        for sparsity in (0.5, 0.9):
            expected.append(strip(prune(lenet, layer_sparsity={name: sparsity})).get_weights())
    for wanted, seen in zip(expected, evaluate.seen, strict=True):
        for a, b in zip(wanted, seen, strict=True):
            np.testing.assert_array_equal(a, b)
    for old, new in zip(before, lenet.get_weights(), strict=True):
        assert old.tobytes() == new.tobytes()


def test_what_dies_with_a_unit_is_there_again_for_the_next_layer(lenet):
    # At 0.99 most filters of conv1 lose their last weight, and so their bias and batch norm.
    evaluate = Evaluator()
    sensitivity(lenet, evaluate, layers="conv", sparsities=(0.99,))
    dense, conv1, conv2 = evaluate.seen
    assert sum(np.count_nonzero(a) for a in conv1) < sum(np.count_nonzero(a) for a in dense) - 148
    names = [w.path if hasattr(w, "path") else w.name for w in lenet.weights]
    for name, a, b in zip(names, dense, conv2, strict=True):
        if "conv2" not in name and "bn2" not in name:
            np.testing.assert_array_equal(a, b)


def test_points_that_are_known_are_not_measured_again(mlp):
    points = {}
    whole = Evaluator()
    found = sensitivity(
        mlp,
        whole,
        sparsities=(0.2, 0.6),
        on_point=lambda layer, sparsity, accuracy: points.update({(layer, sparsity): accuracy}),
    )
    assert list(points)[:3] == [(None, 0.0), ("fc1", 0.2), ("fc1", 0.6)]
    known = dict(list(points.items())[:2])
    rest = Evaluator()
    again = sensitivity(mlp, rest, sparsities=(0.2, 0.6), measured=known)
    assert again == found
    assert len(rest.seen) == len(whole.seen) - 2
    for a, b in zip(whole.seen[2], rest.seen[0], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_proposal_prunes_to_its_exact_counts(mlp):
    found = sensitivity(mlp, Evaluator(), layers=["fc1", "fc2", "fc3"])
    proposed = found.propose(sparsity=0.7)
    pruned = prune(mlp, layer_sparsity=proposed.layer_sparsity)
    zeros = {name: int((kernel(pruned, name) == 0).sum()) for name in proposed.removed}
    assert zeros == proposed.removed
    assert sum(zeros.values()) == 45  # floor(0.7 * 64 + 0.5)


def test_weights_that_a_pruned_model_lost_go_first(mlp):
    pruned = prune(mlp, layer_sparsity={"fc1": 0.5})
    evaluate = Evaluator()
    found = sensitivity(pruned, evaluate, layers="fc1", sparsities=(0.25, 0.75))
    zeros = [int((weights[0] == 0).sum()) for weights in evaluate.seen]
    assert zeros == [12, 12, 18]
    assert found.sizes == {"fc1": 24}


def test_a_random_criterion_is_the_one_that_prune_draws(mlp):
    evaluate = Evaluator()
    options = {"criterion": "random", "seed": 3}
    sensitivity(mlp, evaluate, layers="fc1", sparsities=(0.5,), **options)
    pruned = prune(mlp, 0.5, layers="fc1", **options)
    np.testing.assert_array_equal(evaluate.seen[1][0], kernel(pruned, "fc1"))


@pytest.mark.parametrize("value", [None, float("nan"), [0.1, 0.9], "good"])
def test_an_evaluation_that_is_no_number_is_refused(mlp, value):
    with pytest.raises(UsageError, match="evaluate must give the model's accuracy, one finite"):
        sensitivity(mlp, lambda model: value)


def test_other_mistakes_are_those_of_prune(mlp):
    with pytest.raises(UsageError, match="Possible names: fc1, fc2, fc3"):
        sensitivity(mlp, Evaluator(), layers="fc9")
    with pytest.raises(UsageError, match="criterion must be one of"):
        sensitivity(mlp, Evaluator(), criterion="taste")
    with pytest.raises(UsageError, match="must ascend"):
        sensitivity(mlp, Evaluator(), sparsities=(0.9, 0.1))
    with pytest.raises(UsageError, match="Received: "):
        sensitivity("model.keras", Evaluator())
    mlp.get_layer("fc2").set_weights([np.full((6, 5), np.nan), np.zeros(5)])
    with pytest.raises(TfpruneError, match="NaN"):
        sensitivity(mlp, Evaluator())


def test_the_public_name_works_before_and_after_its_command_is_imported(mlp):
    fresh = tfprune.sensitivity(mlp, Evaluator(), sparsities=(0.5,))
    module = importlib.import_module("tfprune.sensitivity")
    assert tfprune.sensitivity is module
    assert tfprune.sensitivity(mlp, Evaluator(), sparsities=(0.5,)) == fresh
