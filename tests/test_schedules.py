"""Whole runs by each schedule, in this process, on the bundled digits."""

import logging
import os
import signal

import numpy as np
import pytest

from tfprune.config import Config
from tfprune.errors import UsageError
from tfprune.experiment import Experiment
from tfprune.pruning.masks import load_masks
from tfprune.reporting.summary import read_summary
from tfprune.rounds import rounds_of
from tfprune.run_dir import RunDir
from tfprune.setting import Setting
from tfprune.training.checkpoint import load_arrays
from tfprune.training.interrupt import InterruptedRunError
from tfprune.training.randomness import use_resettable_dropout

#: Of 784 x 300 + 300 x 100 weights 0.9 go: 238680 of 265200.
SIZE, STEPS = 265200, 1438 // 128
RECIPE = {
    "dataset": "digits",
    "model": "lenet300_100",
    "sparsity": 0.9,
    "epochs": 2,
    "retrain_epochs": 2,
    "learning_rate": 0.002,
    "lr_decay_rate": 0.5,
    "lr_decay_epochs": 1,
    "export": False,
    "tensorboard": False,
    "progress": False,
}


@pytest.fixture(autouse=True)
def resettable_dropout():
    use_resettable_dropout()


def run(folder, name, **flags):
    """(summary, the finished experiment)."""
    config = Config(**RECIPE | {"runs_dir": str(folder), "name": name} | flags)
    experiment = Experiment(Setting(config), RunDir(config.run_path))
    return experiment.run(), experiment


def removed(path):
    return sum(int((~mask).sum()) for key, mask in load_masks(path).items() if "kernel" in key)


def figures(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def iterative(runs_dir):
    return run(runs_dir, "iterative", schedule="iterative", rounds=2, round_epochs=1)


@pytest.fixture(scope="module")
def gradual(runs_dir):
    flags = {"schedule": "gradual", "gradual_epochs": 1.5, "gradual_interval": 4}
    return run(runs_dir, "gradual", retrain_epochs=3, **flags)


@pytest.fixture(scope="module")
def taught(runs_dir):
    flags = {"schedule": "iterative", "rounds": 2, "round_epochs": 1, "distill": 0.5}
    return run(runs_dir, "taught", share_bits=("4",), share_epochs=1, **flags)


def test_each_round_has_its_exact_count_its_test_and_its_epochs(iterative):
    """0.9 in two rounds: 1 - sqrt(0.1) = 0.68377 first, floor(0.68377 N + 0.5) weights."""
    summary, experiment = iterative
    first, last = summary["rounds"]
    counts = [int(SIZE * (1 - 0.1**0.5) + 0.5), 238680]
    sparsities = [first["group_sparsity"], last["group_sparsity"]]
    assert sparsities == pytest.approx([n / SIZE for n in counts], abs=1e-12)
    assert (first["round"], last["round"], first["epochs"], last["epochs"]) == (1, 2, 1, 2)
    masks = [experiment.folder.masks_of(stage) for stage in ("prune-round1", "prune")]
    assert [removed(path) for path in masks] == counts
    assert last["final_accuracy"] == summary["final_accuracy"] > 0.7
    assert last["first_test_accuracy"] == summary["first_test_accuracy"]
    assert last["first_epoch_accuracy"] == summary["first_epoch_accuracy"]
    assert first["first_epoch_accuracy"] == first["final_accuracy"]
    assert [row["epoch"] for row in summary["history"]] == [1, 2, 3]
    assert (summary["retrain_epochs"], summary["schedule"]) == (3, "iterative")
    assert summary["best_epoch"] > 1 and summary["best_accuracy"] >= summary["final_accuracy"]
    assert read_summary(experiment.folder.summary) == summary


def test_what_a_round_removed_stays_removed_in_the_next(iterative):
    folder = iterative[1].folder
    early, late = (load_masks(folder.masks_of(stage)) for stage in ("prune-round1", "prune"))
    assert early.keys() == late.keys()
    assert all(not (late[key] & ~early[key]).any() for key in early)


def test_each_round_replays_the_learning_rates_and_so_does_its_control(iterative):
    summary, experiment = iterative
    for history in (summary["history"], summary["control_history"]):
        assert [row["learning_rate"] for row in history] == pytest.approx([0.002] * 3)
        assert [row["epoch"] for row in history] == [1, 2, 3]
    assert summary["control_accuracy"] == summary["control_history"][-1]["test_accuracy"]
    plans = [item.plan for item in rounds_of(experiment.setting)]
    assert [plan.draws for plan in plans] == ["retrain", "retrain-round2"]


def test_a_gradual_run_ends_at_the_exact_count(gradual):
    summary, experiment = gradual
    assert removed(experiment.folder.masks) == 238680
    layers = [layer for layer in summary["layers"] if layer["pruned"]]
    assert sum(layer["size"] - layer["kept"] for layer in layers) == 238680
    assert summary["group_sparsity"] == 0.9 and summary["audit"] == {"retrained": "ok"}
    assert summary["first_test_accuracy"] is summary["first_epoch_accuracy"] is None
    assert summary["final_accuracy"] > 0.7 and summary["rounds"] is None


def test_the_sparsity_of_a_gradual_run_rises_by_the_cubic(gradual):
    """11 steps an epoch, ramp of 16 (1.5 x 11 = 16.5, to even): after 11 that of step 8 holds."""
    after_8 = 0.9 * (1 - (1 - 8 / 16) ** 3)
    found = [row["group_sparsity"] for row in gradual[0]["history"]]
    assert found == [int(SIZE * after_8 + 0.5) / SIZE, 0.9, 0.9]


def test_in_a_gradual_run_each_layer_may_have_a_target_of_its_own(runs_dir):
    """fc1 loses 0.8 and fc2 0.5 of their weights; after 11 steps each the same part of it."""
    flags = {"schedule": "gradual", "gradual_epochs": 1.5, "gradual_interval": 4}
    each = {"allocation": "explicit", "layer_sparsity": ("fc1=0.8", "fc2=0.5")}
    summary, experiment = run(runs_dir, "each", retrain_epochs=2, control=False, **flags, **each)
    masks = load_masks(experiment.folder.masks)
    counts = [int((~masks[f"{name}/kernel"]).sum()) for name in ("fc1", "fc2")]
    assert counts == [int(0.8 * 784 * 300), int(0.5 * 300 * 100)]
    part = 1 - (1 - 8 / 16) ** 3
    after_8 = int(0.8 * part * 784 * 300 + 0.5) + int(0.5 * part * 300 * 100 + 0.5)
    found = [row["group_sparsity"] for row in summary["history"]]
    assert found == pytest.approx([after_8 / SIZE, sum(counts) / SIZE], abs=1e-12)
    assert summary["audit"] == {"retrained": "ok"}


@pytest.mark.parametrize("schedule", ["one_shot", "gradual"])
def test_layers_that_are_left_with_their_last_neuron_are_named(runs_dir, gradual, schedule):
    """Of 300 + 100 neurons 398 go: of each layer one is left, with its 784 or 300 weights."""
    flags = {"schedule": schedule, "gradual_epochs": 0.5} if schedule == "gradual" else {}
    flags |= {"granularity": "filter", "sparsity": 0.995, "control": False, "retrain_epochs": 1}
    summary, _ = run(runs_dir, f"last-{schedule}", **flags)
    assert [layer["kept"] for layer in summary["layers"] if layer["pruned"]] == [784, 300]
    assert summary["protected_layers"] == ["fc1", "fc2"]
    assert gradual[0]["protected_layers"] == []


def test_the_best_epoch_of_a_gradual_run_is_one_at_the_target(gradual):
    assert gradual[0]["best_epoch"] in (2, 3)


def test_an_epoch_that_ends_one_step_before_the_target_is_not_at_it(runs_dir):
    """2.96 epochs of 11 steps are 33 steps: the fourth begins with the only removal.

    Its own steps train at rate 0, so that the third, which is dense, ends more accurate.
    """
    flags = {"schedule": "gradual", "gradual_epochs": 2.96, "retrain_epochs": 4}
    flags |= {"retrain_lr_boundaries": (3,), "retrain_lr_decay_rate": 0.0, "control": False}
    summary, _ = run(runs_dir, "late", **flags)
    assert [row["group_sparsity"] for row in summary["history"]] == [0, 0, 0, 0.9]
    assert summary["history"][2]["test_accuracy"] > summary["final_accuracy"]
    assert (summary["best_epoch"], summary["best_accuracy"]) == (4, summary["final_accuracy"])


def test_gradual_and_one_shot_pruning_share_their_control(runs_dir, gradual):
    before = sorted(path.name for path in runs_dir.glob("baselines/*/stages/control*.npz"))
    summary, _ = run(runs_dir, "one_shot", retrain_epochs=3)
    after = sorted(path.name for path in runs_dir.glob("baselines/*/stages/control*.npz"))
    assert before == after and summary["control_accuracy"] == gradual[0]["control_accuracy"]


@pytest.mark.parametrize("epoch", [0, 1])
def test_rewinding_trains_the_weights_of_that_epoch_under_the_masks(runs_dir, epoch):
    """Retrained for no epoch, the result is those weights, zero where the trained ones went."""
    flags = {"rewind": "weights", "rewind_epoch": epoch, "retrain_epochs": 0}
    summary, experiment = run(runs_dir, f"ticket{epoch}", **flags)
    setting = experiment.setting
    if epoch:
        early = load_arrays(experiment.baseline.weights("dense-epoch1"))[0]
    else:
        early = setting.new_model().get_weights()
    masks = load_masks(experiment.folder.masks)
    ended = load_arrays(experiment.folder.weights("retrain"))[0]
    kernels = [array for array in ended if array.dtype == np.float32 and array.ndim == 2]
    for kernel, dense, layer in zip(kernels, early[::2], ("fc1", "fc2", None), strict=True):
        mask = masks[f"{layer}/kernel"] if layer else np.ones(dense.shape, bool)
        np.testing.assert_array_equal(kernel, np.where(mask, dense, 0))
    assert summary["first_test_accuracy"] > summary["final_accuracy"]  # before it goes back
    assert summary["rewind"] == f"weights, epoch {epoch}"


def test_dense_training_keeps_the_weights_of_the_epoch_that_it_is_asked_for(tmp_path, runs_dir):
    """... and where it did not, its first epochs are trained again, to the same weights."""
    flags = {"rewind": "weights", "rewind_epoch": 1, "retrain_epochs": 0}
    _, kept = run(tmp_path, "kept", **flags)
    _, again = run(runs_dir, "again", **flags)
    assert not list(tmp_path.glob("baselines/*/checkpoints/dense-epoch*"))
    left, right = (load_arrays(e.baseline.weights("dense-epoch1"))[0] for e in (kept, again))
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


def test_with_rates_rewound_retraining_replays_dense_training_from_that_epoch(runs_dir):
    summary, _ = run(runs_dir, "rates", rewind="rate", rewind_epoch=1, control=False)
    dense = [row["learning_rate"] for row in summary["dense_history"]]
    assert dense == pytest.approx([0.002, 0.001])
    rates = [row["learning_rate"] for row in summary["history"]]
    assert rates == pytest.approx([0.001, 0.0005])
    assert summary["learning_rate"] == 0.001 and summary["rewind"] == "rate, epoch 1"
    assert summary["lr_decay"] == "0.5/1 epochs, from epoch 1"


class StopAt(logging.Handler):
    """Sends SIGTERM when a line of the log begins with a text."""

    def __init__(self, start):
        super().__init__()
        self.start = start

    def emit(self, record):
        if record.getMessage().startswith(self.start):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("name", "stop_at", "goes_on", "flags"),
    [
        (
            "iterative",
            "retrain-round1 1/1",
            "retrain-round1: goes on at epoch 2",
            {"schedule": "iterative", "round_epochs": 1, "rounds": 2},
        ),
        (
            "iterative",
            "retrain-round2 1/2",
            "retrain: goes on at epoch 2",
            {"schedule": "iterative", "round_epochs": 1, "rounds": 2},
        ),
        (
            "gradual",
            "retrain 1/3",
            "retrain: goes on at epoch 2",
            {
                **{"schedule": "gradual", "retrain_epochs": 3},
                **{"gradual_epochs": 1.5, "gradual_interval": 4},
            },
        ),
        (
            "taught",
            "retrain-round2 1/2",
            "retrain: goes on at epoch 2",
            {
                **{"schedule": "iterative", "round_epochs": 1, "rounds": 2, "distill": 0.5},
                **{"share_bits": ("4",), "share_epochs": 1},
            },
        ),
    ],
)
def test_a_run_stopped_within_its_schedule_and_resumed_is_bit_identical(
    tmp_path, request, caplog, name, stop_at, goes_on, flags
):
    expected, whole = request.getfixturevalue(name)
    log, handler = logging.getLogger("tfprune"), StopAt(stop_at)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with pytest.raises(InterruptedRunError):
            run(tmp_path, name, **flags)
    finally:
        log.removeHandler(handler)
    caplog.clear()
    found, resumed = run(tmp_path, name, **flags)
    assert any(message.startswith(goes_on) for message in caplog.messages)
    assert not any(message.startswith(stop_at) for message in caplog.messages)
    assert figures(found["history"]) == figures(expected["history"])
    assert found["rounds"] == expected["rounds"]
    left, right = (load_arrays(e.folder.weights("retrain"))[0] for e in (whole, resumed))
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)
    assert removed(resumed.folder.masks) == 238680


def test_a_teacher_teaches_what_was_pruned_and_not_the_control(runs_dir, iterative, taught):
    alone, with_teacher = iterative[0], taught[0]
    assert with_teacher["control_history"] == alone["control_history"]  # it was found there
    assert with_teacher["teacher"] == "control, weight 0.5, temperature 2"
    assert alone["teacher"] is None
    assert with_teacher["history"][0]["loss"] != alone["history"][0]["loss"]
    assert with_teacher["audit"]["shared"] == "ok"
    left, right = (e.setting for e in (iterative[1], taught[1]))
    assert rounds_of(left)[-1].control_mark == rounds_of(right)[-1].control_mark


def test_without_a_control_the_dense_network_teaches_and_centroids_learn_from_it(runs_dir, taught):
    flags = {"distill": 1.0, "share_bits": ("4",), "share_epochs": 1, "control": False}
    first, _ = run(runs_dir, "taught_by_dense", **flags)
    assert first["teacher"] == "dense, weight 1, temperature 2"
    with pytest.raises(UsageError, match=r"--distill_temperature=4.0 \(there: 2.0\)"):
        run(runs_dir, "taught_by_dense", distill_temperature=4.0, **flags)
    later, _ = run(runs_dir, "shared_alone", sparsity=0.0, **flags)  # nothing pruned, but shared
    assert later["teacher"] == "dense, weight 1, temperature 2"
    # It says nearly what its teacher says, and the labels are not asked.
    assert later["share_history"][0]["loss"] < 0.1


def test_other_rounds_in_the_same_folder_are_refused(runs_dir, iterative):
    with pytest.raises(UsageError, match=r"--rounds=3 \(there: 2\)"):
        run(runs_dir, "iterative", schedule="iterative", rounds=3, round_epochs=1)
