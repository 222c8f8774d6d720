"""`python -m tfprune.verify`: exit status and table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfprune import verify
from tfprune.backend import keras
from tfprune.pruning.masks import save_masks
from tfprune.pruning.pruner import get_masks, prune, strip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with two good files, one in which a weight came back, and the masks."""
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, name="fc1")(inputs)
    model = prune(keras.Model(inputs, keras.layers.Dense(2, name="out")(x)), 0.5, layers="fc1")
    save_masks(tmp_path / "masks.npz", get_masks(model))
    plain = strip(model)
    plain.save(tmp_path / "good.keras")
    plain.save_weights(tmp_path / "good.weights.h5")
    kernel, bias = plain.get_layer("fc1").get_weights()
    plain.get_layer("fc1").set_weights([np.where(kernel == 0, 1.0, kernel), bias])
    plain.save(tmp_path / "bad.keras")
    return tmp_path


def test_exit_status_and_table(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = [str(run / "good.keras"), str(run / "good.weights.h5")]
    masks = f"--masks={run / 'masks.npz'}"
    assert verify.main([*good, masks]) == 0
    table = capsys.readouterr().out
    assert "good.keras: ok" in table and "good.weights.h5: ok" in table and "fc1/kernel" in table
    assert verify.main([*good, str(run / "bad.keras"), masks]) == 1
    assert "bad.keras: failed" in capsys.readouterr().out
    assert verify.main(good) == 1
    assert "good.keras: unverified" in capsys.readouterr().out


def test_errors_are_one_line_and_the_other_files_are_still_read(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(run / "missing.keras"), str(run / "good.keras")]
    assert verify.main([*files, f"--masks={run / 'masks.npz'}"]) == 1
    out, error = capsys.readouterr()
    assert error.startswith("tfprune: error: ") and error.count("\n") == 1
    assert "missing.keras" in error and "good.keras: ok" in out
    assert verify.main([files[1], f"--masks={run / 'nothing.npz'}"]) == 1
    assert "nothing.npz" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--what"]])
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("tfprune: error: ") and error.count("\n") == 1


def test_help_waits_for_no_tensorflow() -> None:
    code = (
        "import sys\nfrom tfprune import verify\n"
        "try:\n    verify.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert 'tensorflow' not in sys.modules"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert "--masks" in child.stdout
