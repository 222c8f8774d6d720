import os
import signal

import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.data import Split
from tfprune.errors import TfpruneError, UsageError
from tfprune.export.small_twin import small_twin
from tfprune.machine import has_bfloat16
from tfprune.pruning.pruner import layer_sparsities, prune
from tfprune.training.checkpoint import CheckpointFolder
from tfprune.training.evaluate import evaluator
from tfprune.training.inputs import Augmentation, Normalization
from tfprune.training.interrupt import InterruptedRunError
from tfprune.training.learning_rate import PiecewiseConstant
from tfprune.training.loop import Trainer
from tfprune.training.plan import Plan
from tfprune.training.randomness import use_resettable_dropout

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 70).astype(np.int32)
IMAGES = (RNG.integers(0, 40, (70, 6, 6, 1)) + 70 * LABELS[:, None, None, None]).astype(np.uint8)
TRAIN = Split(IMAGES, LABELS)
UNIT = Normalization.of("unit", IMAGES)


@pytest.fixture(autouse=True)
def resettable_dropout():
    use_resettable_dropout()


def network(softmax=False, dropout=0.3):
    keras.utils.set_random_seed(1)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(momentum=0.5),
            layers.Flatten(),
            layers.Dropout(dropout),
            layers.Dense(3, activation="softmax" if softmax else None),
        ]
    )


def plan(**changes):
    return Plan(
        **{
            "stage": "dense",
            "draws": "dense",
            "epochs": 3,
            "batch_size": 16,
            "rate": PiecewiseConstant(0.02, 0.5, decay_epochs=1, warmup_epochs=0.5),
            "optimizer": "adam",
            "weight_decay": 0.01,
            "label_smoothing": 0.1,
            "augmentation": Augmentation(shift=1, flip=True, cutout=2),
            "seed": 5,
        }
        | changes
    )


def trainer(folder, model, before_step=None, small=None, **changes):
    checkpoints = CheckpointFolder(folder, "dense")
    options = {"show_progress": False, "before_step": before_step, "small": small}
    return Trainer(model, plan(**changes), TRAIN, UNIT, checkpoints, "mark", **options)


def train(folder, model, after_epoch=lambda record: None, before_step=None, small=None, **changes):
    evaluate = evaluator(model, UNIT, TRAIN)
    run = trainer(folder, model, before_step, small, **changes).run
    return run(lambda: {"test_accuracy": evaluate()}, after_epoch)


def epochs(records):
    """The epochs of records: those that were trained, where `after_epoch` collected them."""
    return [record["epoch"] for record in records]


def figures(history):
    """A history without its times."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("softmax", [False, True])
def test_training_learns_and_its_history_says_so(tmp_path, optimizer, softmax):
    history = train(tmp_path, network(softmax), epochs=8, optimizer=optimizer)
    assert [row["epoch"] for row in history] == list(range(1, 9))
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["test_accuracy"] > 0.6
    assert [row["learning_rate"] for row in history[:3]] == pytest.approx([0.02, 0.01, 0.005])
    assert set(history[0]) == {
        *("epoch", "loss", "train_accuracy", "learning_rate", "seconds", "test_accuracy")
    }


@pytest.mark.parametrize("signal_at", [1, 2])
def test_a_run_stopped_after_an_epoch_and_resumed_is_bit_identical(tmp_path, signal_at):
    whole = network()
    expected = train(tmp_path / "whole", whole)

    def stop(record):
        if record["epoch"] == signal_at:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError, match="the same command resumes") as error:
        train(tmp_path / "parts", network(), stop)
    assert error.value.exit_status == 143
    resumed, trained = network(), []
    history = train(tmp_path / "parts", resumed, trained.append)
    assert epochs(trained) == list(range(signal_at + 1, 4))
    assert figures(history) == figures(expected)
    for left, right in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_signal_inside_an_epoch_checkpoints_there_and_resumes_bit_identical(tmp_path):
    whole = network()
    expected = train(tmp_path / "whole", whole, batch_size=4)
    stopped = trainer(tmp_path / "parts", network(), batch_size=4)
    stopped._call_steps = 2
    run = stopped._training.run
    calls = []

    def interrupting(*arguments):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return run(*arguments)

    stopped._training.run = interrupting
    with pytest.raises(InterruptedRunError) as error:
        stopped.run(lambda: {"test_accuracy": 0.0}, lambda record: None)
    assert error.value.exit_status == 130
    (checkpoint,) = (tmp_path / "parts").iterdir()
    assert not checkpoint.name.endswith("-0000000.npz")
    resumed, asked = network(), []
    history = train(tmp_path / "parts", resumed, before_step=asked.append, batch_size=4)
    assert checkpoint.name == f"dense-00000-{asked[0]:07d}.npz"  # the first step that is run
    assert figures(history) == figures(expected)
    for left, right in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.skipif(not has_bfloat16(), reason="the processor has no bfloat16")
def test_in_bfloat16_it_learns_alike_evaluates_in_float32_and_resumes_bit_identical(tmp_path):
    single, whole, resumed, trained = network(), network(), network(), []
    expected = train(tmp_path / "float32", single)
    history = train(tmp_path / "whole", whole, precision="bfloat16")
    for row, other in zip(history, expected, strict=True):
        assert row["loss"] != other["loss"]
        assert row["loss"] == pytest.approx(other["loss"], rel=0.05)
    assert history[-1]["test_accuracy"] == evaluator(whole, UNIT, TRAIN)()
    assert all(weight.dtype == "float32" for weight in whole.get_weights())

    def stop(record):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        train(tmp_path / "parts", network(), stop, precision="bfloat16")
    parts = train(tmp_path / "parts", resumed, trained.append, precision="bfloat16")
    assert figures(parts) == figures(history) and epochs(trained) == [2, 3]
    for left, right in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def halving(model, stop_at=None):
    """A `before_step` that halves a kernel at steps 0, 5, ... 40 and notes where it was asked."""
    asked = []

    def before_step(step):
        asked.append(step)
        if step in range(0, 41, 5):
            model.weights[0].assign(model.weights[0] / 2)
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return step // 5 * 5 + 5 if step < 40 else None

    return before_step, asked


def test_what_is_done_before_a_step_is_done_once_and_at_that_step(tmp_path):
    """17 steps an epoch, 3 epochs; a run stopped within the second one ends bit-identical."""
    whole = network()
    before_step, asked = halving(whole)
    expected = train(tmp_path / "whole", whole, before_step=before_step, batch_size=4)
    assert [step for step in asked if step in range(0, 41, 5)] == list(range(0, 41, 5))
    parts = network()
    with pytest.raises(InterruptedRunError, match="epoch 2, step"):
        train(tmp_path / "parts", parts, before_step=halving(parts, 25)[0], batch_size=4)
    resumed = network()
    before_step, asked = halving(resumed)
    history = train(tmp_path / "parts", resumed, before_step=before_step, batch_size=4)
    assert asked[0] > 25 and [step for step in asked if step in range(0, 41, 5)] == [30, 35, 40]
    assert figures(history) == figures(expected)
    for left, right in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_small_twin_trains_as_the_masked_network_does(tmp_path):
    """But for the rounding of sums; and one that is stopped and resumed ends bit-identical."""
    large, other, parts = (
        prune(network(dropout=0), 0.5, layers=["conv"], granularity="filter") for _ in range(3)
    )
    expected = train(tmp_path / "large", large, weight_decay=0.0)
    twin = small_twin(other)
    assert twin.parameters[1] < 0.6 * twin.parameters[0]
    history = train(tmp_path / "small", other, small=twin, weight_decay=0.0)
    for name in ("loss", "train_accuracy", "test_accuracy"):
        assert [row[name] for row in history] == pytest.approx(
            [row[name] for row in expected], rel=1e-4
        )
    # Moving statistics of dead units go on in the one and stand in the other, to no effect.
    for left, right in zip(large.trainable_weights, other.trainable_weights, strict=True):
        np.testing.assert_allclose(np.asarray(left), np.asarray(right), rtol=1e-3, atol=1e-5)
    assert [*layer_sparsities(other).values()] == [*layer_sparsities(large).values()] == [0.5]

    def stop(record):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError):
        train(tmp_path / "parts", parts, stop, small=small_twin(parts), epochs=2)
    whole = prune(network(dropout=0), 0.5, layers=["conv"], granularity="filter")
    train(tmp_path / "whole", whole, small=small_twin(whole), epochs=2)
    trained = []
    train(tmp_path / "parts", parts, trained.append, small=small_twin(parts), epochs=2)
    assert epochs(trained) == [2]
    for left, right in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_stages_that_share_their_draws_see_the_same_batches(tmp_path):
    first, second, other = network(), network(), network()
    train(tmp_path / "a", first, stage="control")
    train(tmp_path / "b", second, stage="retrain")
    train(tmp_path / "c", other, draws="retrain")
    assert np.array_equal(first.get_weights()[0], second.get_weights()[0])
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


def test_weight_decay_shrinks_kernels_by_rate_times_decay_each_step(tmp_path):
    model = network()
    model.trainable = True
    kernel = model.get_weights()[0]
    # A learning rate this small leaves Adam nothing to add; 4 steps of factor 1 - 1e-9 * 1e8.
    rate = PiecewiseConstant(1e-9)
    train(tmp_path, model, epochs=1, rate=rate, weight_decay=1e8)
    np.testing.assert_allclose(model.get_weights()[0], kernel * 0.9**4, atol=1e-6)


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(tmp_path):
    with pytest.raises(TfpruneError, match=r"loss became .* at epoch 1, step \d.*lower learning"):
        train(tmp_path, network(), rate=PiecewiseConstant(1e30), optimizer="sgd", epochs=5)


def test_a_batch_larger_than_the_training_set_is_refused(tmp_path):
    with pytest.raises(UsageError, match="at most the 70 training images; received 71"):
        trainer(tmp_path, network(), batch_size=71)


def test_a_finished_run_is_not_run_again(tmp_path):
    expected = train(tmp_path, network())
    model = network()
    shown = []
    assert figures(train(tmp_path, model, shown.append)) == figures(expected)
    assert shown == []
