"""Made-up summaries: functions behind fixtures, so that every test changes what it needs."""

import pytest

from tfprune.reporting.summary import empty_summary


def _history(*accuracies):
    return [
        {
            "epoch": number,
            "loss": 0.1,
            "train_accuracy": 0.99,
            "test_accuracy": accuracy,
            "learning_rate": 1e-3,
            "seconds": 7.0,
        }
        for number, accuracy in enumerate(accuracies, 1)
    ]


def _layer(name, shape, size, kept, *, pruned=True):
    return {
        "name": name,
        "kind": "conv",
        "shape": shape,
        "size": size,
        "kept": kept,
        "sparsity": 1 - kept / size,
        "threshold": 0.03 if pruned else None,
        "pruned": pruned,
    }


def _run(seed=0, **changes):
    """LeNet-5 conv 50 %, with the published counts of weights: 22 of 150 and 1253 of 2400."""
    summary = empty_summary() | {
        "status": "complete",
        "name": "lenet5_conv50",
        "network": "lenet5",
        "dataset": "mnist",
        "group": "conv",
        "allocation": "global",
        "criterion": "magnitude",
        "schedule": "one_shot",
        "target_sparsity": 0.5,
        "group_sparsity": 0.5,
        "model_sparsity": 0.0288,
        "dense_accuracy": 0.99,
        "control_accuracy": 0.991,
        "first_test_accuracy": 0.985,
        "first_epoch_accuracy": 0.988,
        "final_accuracy": 0.9895,
        "best_accuracy": 0.9900,
        "best_epoch": 2,
        "epochs": 20,
        "retrain_epochs": 3,
        "learning_rate": 1e-3,
        "lr_decay": "none",
        "batch_size": 128,
        "optimizer": "adam",
        "seed": seed,
        "dense_history": _history(*[0.99] * 20),
        "history": _history(0.988, 0.99, 0.9895),
        "layers": [
            _layer("conv1", [5, 5, 1, 6], 150, 128),
            _layer("conv2", [5, 5, 6, 16], 2400, 1147),
            _layer("fc1", [256, 120], 30720, 30720, pruned=False),
        ],
        "exports": {"tflite": {"bytes": 1000, "accuracy": 0.9894}, "keras": {"bytes": 2000}},
        "audit": {"pruned": "ok", "tflite": "ok"},
    }
    return summary | changes


def _baseline(seed=0):
    nothing = dict.fromkeys(
        ["control_accuracy", "first_test_accuracy", "first_epoch_accuracy", "audit", "exports"]
    )
    return _run(seed, **nothing) | {
        "name": "lenet5_dense",
        "group": "dense",
        "target_sparsity": 0,
        "final_accuracy": None,
    }


@pytest.fixture(scope="session")
def history_of():
    return _history


@pytest.fixture(scope="session")
def layer_of():
    return _layer


@pytest.fixture(scope="session")
def run_of():
    return _run


@pytest.fixture(scope="session")
def baseline_of():
    return _baseline
