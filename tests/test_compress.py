"""`python -m tfprune.compress` and `python -m tfprune.decompress`."""

import subprocess
import sys

import numpy as np
import pytest

from tfprune import compress, decompress
from tfprune.backend import keras
from tfprune.compression.artifact import load_compressed
from tfprune.errors import UsageError
from tfprune.export.stored import named_weights
from tfprune.export.tflite import run_tflite
from tfprune.pruning.pruner import prune, strip
from tfprune.share_bits import parse_bits


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder with its pruned model; what the commands set in the environment goes."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", str(int(keras.Model.__module__[:3] == "tf_")))
    keras.utils.set_random_seed(0)
    inputs = keras.Input((10,))
    x = keras.layers.Dense(40, activation="relu", name="fc1")(inputs)
    model = strip(prune(keras.Model(inputs, keras.layers.Dense(3, name="out")(x)), 0.9))
    folder = tmp_path / "run"
    folder.mkdir()
    model.save(folder / "pruned.keras")
    return folder


def test_compress_and_decompress(run, capsys):
    original = keras.models.load_model(run / "pruned.keras", compile=False)
    assert compress.main([str(run)]) == 0
    path = run / "model.tfprune"
    out = capsys.readouterr().out
    size = path.stat().st_size
    assert f"{path}: {size:,} bytes" in out and "dense float32" in out and "fc1/kernel" in out
    assert "4 of 4 variables are equal" in out
    assert f"{4 * (440 + 123) / size:.1f}x" in out

    assert decompress.main([str(path), f"--out={run / 'back.keras'}"]) == 0
    back = keras.models.load_model(run / "back.keras", compile=False)
    assert all(map(np.array_equal, back.get_weights(), original.get_weights()))
    assert decompress.main([str(path), "--to=tflite"]) == 0
    data = np.random.default_rng(0).normal(size=(5, 10)).astype(np.float32)
    outputs = run_tflite(run / "model.tflite", data)
    np.testing.assert_allclose(outputs, original(data), rtol=1e-4, atol=1e-5)


def test_options(run, capsys):
    file = run / "pruned.keras"
    options = [str(file), "--coder=huffman", "--bits=conv=8,fc=2", "--rate=0.01", "--other_bits=8"]
    assert compress.main([*options, f"--out={run / 'small.tfprune'}"]) == 0
    out = capsys.readouterr().out
    assert "huffman bytes" in out and "fc1/kernel: values changed by at most" in out
    kernel = named_weights(load_compressed(run / "small.tfprune"))["fc1/kernel"]
    assert len(np.unique(kernel[kernel != 0])) <= 4
    assert compress.main([str(file)]) == 0
    assert (run / "pruned.tfprune").is_file()


def test_bytes_find_the_price(run, capsys):
    assert compress.main([str(run), "--bits=6", "--rate=0"]) == 0
    limit = (run / "model.tfprune").stat().st_size - 5
    assert compress.main([str(run), "--bits=6", f"--bytes={limit}"]) == 0
    assert "shared at a price of 0." in capsys.readouterr().out
    assert 0.9 * limit < (run / "model.tfprune").stat().st_size <= limit
    assert compress.main([str(run), "--bits=6", "--bytes=9"]) == 2
    assert "cannot make a file of 9 bytes" in capsys.readouterr().err


def test_a_file_that_loads_as_something_else_is_an_error(run, capsys, monkeypatch):
    def altered(path):
        model = load_compressed(path)
        kernel, bias = model.get_layer("fc1").get_weights()
        model.get_layer("fc1").set_weights([np.where(kernel == 0, 0.25, kernel), bias])
        return model

    monkeypatch.setattr("tfprune.compression.artifact.load_compressed", altered)
    assert compress.main([str(run)]) == 1
    captured = capsys.readouterr()
    assert "3 of 4 variables are equal" in captured.out
    assert "fc1/kernel: values changed by at most 0.25" in captured.out
    assert "does not hold the weights of" in captured.err and captured.err.count("\n") == 1


def test_compress_in_a_run_folder(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    assert compress.main(["."]) == 0
    assert (run / "model.tfprune").is_file()
    capsys.readouterr()
    assert decompress.main(["."]) == 1
    assert capsys.readouterr().err == "tfprune: error: cannot read '.': Is a directory\n"


@pytest.mark.parametrize("weights", [[], [np.zeros((4, 3))]])
def test_a_model_whose_weights_take_no_bytes(run, capsys, weights):
    inputs = keras.Input((4,))
    layer = keras.layers.Dense(3, use_bias=False) if weights else keras.layers.ReLU()
    model = keras.Model(inputs, layer(inputs))
    model.set_weights(weights)
    model.save(run / "pruned.keras")
    assert compress.main([str(run)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert ["pruned,", "sparse", "0", "-"] in map(str.split, out)
    assert f"{len(weights)} of {len(weights)} variables are equal" in out[-1]


def test_bits():
    assert parse_bits("6", "--bits") == 6
    assert parse_bits("conv=8, fc=5", "--bits") == {"conv": 8, "fc": 5}
    assert parse_bits("a=b=4", "--bits") == {"a=b": 4}
    # A name that is empty, or twice there, is a slip, not what to share all layers by.
    for text in ("", "conv", "conv=x", "conv=8,5", "=5", "conv=8,=5", "conv=8,conv=5", "5.0"):
        with pytest.raises(UsageError, match="--bits must be a number such as 6"):
            parse_bits(text, "--bits")
    for text in ("0", "fc=13"):
        with pytest.raises(UsageError, match=f"--b must be whole .* 1 to 12. Received: '{text}'"):
            parse_bits(text, "--b")


@pytest.mark.parametrize(
    ("command", "arguments", "status", "message"),
    [
        (compress, [], 2, "required: RUN_DIR"),
        (compress, ["{run}", "--coder=zip"], 2, "one of huffman, context. Received: 'zip'"),
        (compress, ["{run}", "--bits=x"], 2, "Received: 'x'"),
        (compress, ["{run}", "--bits=99"], 2, "from 1 to 12. Received: '99'"),
        (compress, ["{run}", "--other_bits=4"], 2, "one of 32, 16, 8. Received: 4"),
        (compress, ["{run}", "--bits=2", "--rate=-1"], 2, "a number from 0. Received: -1.0"),
        (compress, ["{run}", "--rate=0.01"], 2, "--rate needs --bits. Received: 0.01"),
        (compress, ["{run}/nothing"], 1, "there is no model"),
        (compress, ["{run}/text.keras"], 1, "is no .keras file"),
        (decompress, [], 2, "required: FILE.tfprune"),
        (decompress, ["x.tfprune", "--to=onnx"], 2, "one of keras, tflite. Received: 'onnx'"),
        (
            decompress,
            ["x.tfprune", "--out=x.h5"],
            2,
            "must end in .keras for --to=keras",
        ),
        (decompress, ["{run}/nothing"], 1, "No such file"),
        (decompress, ["{run}/text.keras"], 1, "is no .tfprune file"),
    ],
)
def test_errors_are_one_line(run, capsys, command, arguments, status, message):
    (run / "text.keras").write_text("some text, longer than a header is")
    before = set(run.iterdir())
    assert command.main([argument.format(run=run) for argument in arguments]) == status
    error = capsys.readouterr().err
    assert error.startswith("tfprune: error: ") and error.count("\n") == 1 and message in error
    assert set(run.iterdir()) == before


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_help_and_wrong_usage_wait_for_no_tensorflow(command):
    code = (
        f"import sys\nfrom tfprune import {command}\n"
        f"try:\n    {command}.main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"assert {command}.main(['x.tfprune', '--to=x', '--coder=x']) == 2\n"
        "assert 'tensorflow' not in sys.modules"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert "exit status" in child.stdout
