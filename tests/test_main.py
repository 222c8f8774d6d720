import os
import subprocess
import sys

import pytest


def main(*arguments, **changes):
    return subprocess.run(
        [sys.executable, "-m", "tfprune.main", *arguments],
        # The command chooses its Keras, whichever the tests run under.
        env={k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"} | changes,
        capture_output=True,
        text=True,
    )


def test_help_exits_0_and_names_every_flag_without_tensorflow():
    result = main("--help", PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0
    assert "--flagfile=configs/quickstart.cfg" in result.stdout and "--sparsity" in result.stdout
    assert "| tensorflow" not in result.stderr


FAULTS = {
    "unknown flag": (["--sparsty=0.5"], 2, "Did you mean: sparsity"),
    "value out of range": (["--sparsity=1.5"], 2, "received 1.5"),
    "unknown network": (["--model=lenet6"], 2, "lenet5"),
    "missing flagfile": (["--flagfile=none.cfg"], 2, "none.cfg"),
    "missing model file": (["--model=none.keras"], 1, "there is no file 'none.keras'"),
    "unknown data set": (["--dataset=mnits"], 2, "did you mean mnist"),
    "unknown layer": (["--group=conv7", "--dry_run"], 2, "Possible names: conv1, conv2, fc1"),
    "unknown layer to exclude": (["--exclude_layers=fc9", "--dry_run"], 2, "fc1, fc2"),
    "model and data do not fit": (["--image_size=8", "--dry_run"], 2, "at least 16x16"),
    "batch larger than the data": (["--batch_size=5000"], 2, "at most the 1438"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_clear_line_with_its_exit_status(fault, tmp_path, monkeypatch):
    arguments, status, message = FAULTS[fault]
    result = main(*arguments, f"--runs_dir={tmp_path / 'runs'}", "--noprogress")
    assert result.returncode == status, result.stderr
    assert result.stderr.startswith("tfprune: error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr


def test_missing_data_without_a_network_says_how_to_get_it_and_what_works_without(tmp_path):
    result = main(
        *("--dataset=mnist", f"--data_dir={tmp_path}", f"--runs_dir={tmp_path / 'runs'}"),
        # A proxy that refuses: as good as no network, wherever the test runs.
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9"),
    )
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert "TFDS_DATA_DIR" in last and "--dataset=digits" in last
    assert "Traceback" not in result.stderr


def test_an_unexpected_exception_keeps_its_traceback(tmp_path):
    code = (
        "import sys, tfprune.main as m\n"
        "def broken(config): raise RuntimeError('a defect')\n"
        "m.choose_keras = broken\n"
        "sys.exit(m.main([]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "Traceback" in result.stderr and "RuntimeError: a defect" in result.stderr


def test_a_model_of_wrong_classes_is_refused_by_name(tmp_path):
    code = (
        "import keras\n"
        "keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(),"
        " keras.layers.Dense(7)]).save('seven.keras')"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        check=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    result = main(f"--model={tmp_path / 'seven.keras'}", f"--runs_dir={tmp_path}")
    assert result.returncode == 1
    assert "output has shape (7,), the data set 10 classes" in result.stderr
    assert result.stderr.count("\n") == 1
