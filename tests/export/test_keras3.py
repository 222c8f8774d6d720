"""The Keras 3 file is written by a child process, whatever Keras runs here."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tfprune.errors import TfpruneError
from tfprune.export.audit import audit
from tfprune.export.keras3 import export_keras3, set_named_weights
from tfprune.export.stored import named_weights
from tfprune.models import build
from tfprune.pruning.pruner import get_masks, prune


def test_the_file_is_keras_3_and_gives_the_same_outputs(tmp_path: Path) -> None:
    model = prune(build("lenet5", (16, 16, 1), 10), 0.7)
    sample = np.random.default_rng(0).normal(size=(3, 16, 16, 1)).astype(np.float32)
    path = tmp_path / "pruned_keras3.keras"
    outputs = export_keras3(
        "lenet5", (16, 16, 1), 10, {"dropout": None}, named_weights(model), path, sample
    )
    np.testing.assert_allclose(outputs, np.asarray(model(sample)), rtol=1e-4, atol=1e-5)
    assert list(tmp_path.iterdir()) == [path]
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("metadata.json"))["keras_version"].startswith("3.")
        assert b"tfprune" not in archive.read("config.json")
    assert audit(path, get_masks(model)).verdict == "ok"


def test_the_cause_of_a_failing_child_is_told(tmp_path: Path) -> None:
    sample = np.zeros((1, 16, 16, 1), np.float32)
    with pytest.raises(TfpruneError, match=r"lenet6 can not be written.*lenet300_100"):
        export_keras3("lenet6", (16, 16, 1), 10, {}, {}, tmp_path / "m.keras", sample)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_holds_other_weights_is_refused(tmp_path: Path) -> None:
    """Float32 variables can not hold what float64 weights say."""
    weights = named_weights(build("lenet300_100", (4, 4, 1), 10))
    weights["fc2/kernel"] = weights["fc2/kernel"].astype(np.float64) + 1 / 3
    sample = np.zeros((1, 4, 4, 1), np.float32)
    with pytest.raises(TfpruneError, match=r"the file written holds another fc2/kernel$"):
        export_keras3("lenet300_100", (4, 4, 1), 10, {}, weights, tmp_path / "m.keras", sample)
    assert list(tmp_path.iterdir()) == []


def test_weights_have_to_fit_by_name_and_shape() -> None:
    model = build("lenet300_100", (4, 4, 1), 10)
    weights = named_weights(model)
    assert list(weights)[:2] == ["fc1/kernel", "fc1/bias"]
    other = {name: values + 1.0 for name, values in weights.items()}
    set_named_weights(model, other)
    for name, values in named_weights(model).items():
        np.testing.assert_array_equal(values, other[name])
    with pytest.raises(TfpruneError, match=r"Different: fc9/kernel$"):
        set_named_weights(model, weights | {"fc9/kernel": np.ones(3)})
    with pytest.raises(TfpruneError, match=r"fc1/bias must have shape \(300,\)"):
        set_named_weights(model, weights | {"fc1/bias": np.ones(3)})
