import os
import subprocess
import sys


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
