"""Whole runs, as a user starts them: each in its own process, on the bundled digits."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tfprune.flags import parse
from tfprune.reporting.summary import read_summary
from tfprune.run_dir import RunDir

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from compare_runs import differences  # noqa: E402

QUICK = (
    f"--flagfile={ROOT / 'configs/quickstart.cfg'}",
    "--epochs=2",
    "--retrain_epochs=3",
    "--retrain_lr_boundaries=2",
    "--lr_boundaries=",
    "--noprogress",
    "--code",
)
FILES = {"keras", "weights", "keras3", "dense_tflite", "tflite", "tfprune"}


def command(*flags):
    return [sys.executable, "-m", "tfprune.main", *flags]


def environment(**changes):
    kept = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return kept | {"PYTHONPATH": str(ROOT)} | changes


def run(folder, *flags, **changes):
    return subprocess.run(
        command(*flags), cwd=folder, env=environment(**changes), capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished quickstart with few epochs: (working directory, run folder, its output)."""
    folder = tmp_path_factory.mktemp("finished")
    result = run(folder, *QUICK)
    assert result.returncode == 0, result.stderr
    return folder, folder / "runs" / "quickstart-seed0", result.stdout


def test_the_run_folder_holds_what_the_contract_says(finished):
    _, run_folder, _ = finished
    for name in (
        *("flags.cfg", "summary.json", "masks.npz", "tensorboard", "checkpoints", "log.txt"),
        *("pruned.keras", "pruned.weights.h5", "pruned_keras3.keras"),
        *("pruned.tflite", "dense.tflite", "model.tfprune"),
    ):
        assert (run_folder / name).exists(), name


def test_the_summary_tells_the_story_in_figures(finished):
    summary = read_summary(finished[1] / "summary.json")
    assert summary["status"] == "complete"
    assert (summary["network"], summary["dataset"], summary["group"]) == ("lenet5", "digits", "fc")
    removed = {x["name"]: x["size"] - x["kept"] for x in summary["layers"] if x["pruned"]}
    assert set(removed) == {"fc1", "fc2"}
    assert sum(removed.values()) == (9 * (30720 + 10080) + 5) // 10
    assert summary["group_sparsity"] == pytest.approx(0.9)
    assert [row["epoch"] for row in summary["history"]] == [1, 2, 3]
    assert summary["final_accuracy"] == summary["history"][-1]["test_accuracy"]
    assert summary["first_epoch_accuracy"] == summary["history"][0]["test_accuracy"]
    assert summary["best_accuracy"] == max(r["test_accuracy"] for r in summary["history"])
    assert summary["control_accuracy"] == summary["control_history"][-1]["test_accuracy"]
    assert summary["dense_accuracy"] > 0.7 and summary["final_accuracy"] > 0.7
    assert summary["first_test_accuracy"] < summary["dense_accuracy"]
    assert summary["macs_dense"] == 86400 + 153600 + 30720 + 10080 + 840
    kept = {x["name"]: x["kept"] for x in summary["layers"]}
    assert summary["macs_pruned"] == 86400 + 153600 + kept["fc1"] + kept["fc2"] + 840
    assert 100e6 < summary["peak_memory_bytes"] < 6e9  # TensorFlow alone, and what VGG may take


def test_every_export_was_proven(finished):
    summary = read_summary(finished[1] / "summary.json")
    assert set(summary["exports"]) == FILES
    assert summary["exports"]["dense_tflite"]["accuracy"] == pytest.approx(
        summary["dense_accuracy"], abs=1 / 359
    )
    for kind in FILES - {"dense_tflite"}:
        figures = summary["exports"][kind]
        assert figures["accuracy"] == pytest.approx(summary["final_accuracy"], abs=1 / 359)
        assert figures["max_abs_difference"] < 1e-3
    for kind, figures in summary["exports"].items():
        assert (figures["latency_ms"] is not None) == ("tflite" in kind)
    stages = {"pruned", "retrained", *(FILES - {"dense_tflite"})}
    assert summary["audit"] == dict.fromkeys(stages, "ok")
    assert summary["shrunk"] is None and "shrink: no unit is dead" in finished[2]


def test_filters_that_go_leave_a_small_network_in_every_kind_of_file(finished):
    """Half of the units: 3 + 8 filters, 60 + 42 neurons; conv2 leaves 4 x 4 pixels to fc1."""
    folder, _, _ = finished
    flags = ("--name=filters", "--group=all", "--granularity=filter", "--allocation=uniform")
    kinds = "--quantize=float16,dynamic,int8,qat,sparse"
    more = ("--sparsity=0.5", "--retrain_epochs=3", "--qat_epochs=1", "--nocontrol", "--nocode")
    result = run(folder, *QUICK, *flags, kinds, *more)
    assert result.returncode == 0, result.stderr
    assert "exported dense_tflite" not in result.stdout  # the baseline has it
    summary = read_summary(folder / "runs" / "filters-seed0" / "summary.json")
    assert summary["shrunk"]["units"] == {
        "conv1": [6, 3],
        "conv2": [16, 8],
        "fc1": [120, 60],
        "fc2": [84, 42],
    }
    small = 25 * 3 + 3 + 25 * 3 * 8 + 8 + 128 * 60 + 60 + 60 * 42 + 42 + 42 * 10 + 10
    assert summary["shrunk"]["parameters"] == [44_426, small]
    assert summary["shrunk"]["macs"] == [
        281_640,
        576 * 75 + 64 * 600 + 128 * 60 + 60 * 42 + 420,
    ]
    files = summary["exports"]
    made = {f"shrunk_tflite_{kind}" for kind in ("float16", "dynamic", "int8", "qat", "sparse")}
    assert set(files) == (FILES - {"tfprune"}) | {"shrunk_keras", "shrunk_tflite"} | made
    assert set(summary["audit"].values()) == {"ok"}
    assert set(files) - {"dense_tflite"} <= set(summary["audit"])
    for kind in ("shrunk_keras", "shrunk_tflite", "shrunk_tflite_sparse"):
        assert files[kind]["accuracy"] == pytest.approx(summary["final_accuracy"], abs=1 / 359)
    for kind in made - {"shrunk_tflite_sparse"}:
        assert files[kind]["accuracy"] > summary["final_accuracy"] - 0.05
        assert files[kind]["bytes"] < 0.7 * files["shrunk_tflite"]["bytes"]
    assert [row["epoch"] for row in summary["qat_history"]] == [1]
    found = summary["ledger"]
    assert found["dense_bytes"] == 4 * 44_426
    assert found["bytes"] == sum(found["parts"].values())
    assert found["files"]["dense_tflite"]["ratio"] == pytest.approx(
        4 * 44_426 / files["dense_tflite"]["bytes"]
    )
    for said in ("bytes by part", "shrunk_tflite_int8", "kept weights"):
        assert said in result.stdout


def test_the_console_ends_with_a_table_a_newcomer_can_read(finished):
    assert "first test" in finished[2] and "control" in finished[2] and "fc1" in finished[2]


def test_the_saved_flags_are_the_effective_ones(finished):
    run_folder = finished[1]
    saved = parse([f"--flagfile={run_folder / 'flags.cfg'}"])
    assert saved == parse(QUICK)
    assert saved.retrain_epochs == 3


def test_the_same_command_again_skips_what_stands_and_ends_the_same(finished):
    folder, run_folder, _ = finished
    before = read_summary(run_folder / "summary.json")
    (shared,) = folder.glob("runs/baselines/*/dense.tflite")
    shared.write_bytes(shared.read_bytes()[:-1])
    result = run(folder, *QUICK)
    assert result.returncode == 0, result.stderr
    assert "retrain 1/3" not in result.stdout and "dense 1/2" not in result.stdout
    assert "exported dense_tflite" in result.stdout  # again, since it was damaged
    assert shared.read_bytes() == (run_folder / "dense.tflite").read_bytes()
    after = read_summary(run_folder / "summary.json")
    assert deterministic_part(after) == deterministic_part(before)


def test_a_second_config_shares_the_baseline(finished):
    folder, _, _ = finished
    flags = ("--name=other", "--group=conv", "--sparsity=0.5", "--retrain_epochs=0", "--noexport")
    result = run(folder, *QUICK, *flags)
    assert result.returncode == 0, result.stderr
    assert "dense 1/2" not in result.stdout
    summary = read_summary(folder / "runs" / "other-seed0" / "summary.json")
    assert summary["final_accuracy"] == summary["first_test_accuracy"]
    assert sum(x["size"] - x["kept"] for x in summary["layers"]) == 1275


def test_other_flags_for_the_same_folder_are_refused_with_the_difference(finished):
    folder, run_folder, _ = finished
    saved = (run_folder / "flags.cfg").read_text()
    result = run(folder, *QUICK, "--sparsity=0.8")
    assert result.returncode == 2
    assert "--sparsity=0.8 (there: 0.9)" in result.stderr and "Traceback" not in result.stderr
    result = run(folder, *QUICK, "--retrain_epochs=4")
    assert result.returncode == 2
    assert "--retrain_epochs=4 (there: 3)" in result.stderr
    assert (run_folder / "flags.cfg").read_text() == saved


def test_a_finished_pruned_run_is_not_replaced_by_its_dense_network(finished):
    folder, run_folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in run_folder.iterdir()}
    result = run(folder, *QUICK, "--sparsity=0")
    assert result.returncode == 2, result.stdout
    assert "stage 'prune' was made with other flags: --sparsity=0.0 (there: 0.9); give" in (
        result.stderr
    )
    changed = {path.name for path in before if path.stat().st_mtime_ns != before[path]}
    assert changed <= {".lock-run", "log.txt"}  # nor "stages", a folder


def test_a_finished_dense_run_is_not_replaced_by_a_pruned_one(finished):
    folder, run_folder, _ = finished
    dense = run_folder.with_name("dense")
    flags = (f"--run_dir={dense}", "--noexport", "--nocode")
    result = run(folder, *QUICK, *flags, "--sparsity=0")
    assert result.returncode == 0, result.stderr
    before = {path: path.stat().st_mtime_ns for path in dense.iterdir()}
    result = run(folder, *QUICK, *flags)
    assert result.returncode == 2, result.stdout
    assert "stage 'dense' was made with other flags: --sparsity=0.9 (there: 0.0); give" in (
        result.stderr
    )
    changed = {path.name for path in before if path.stat().st_mtime_ns != before[path]}
    assert changed <= {".lock-run", "log.txt"}


def test_tensorboard_has_a_tag_for_each_layer_and_each_point_once(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(finished[1] / "tensorboard" / "retrain"), {"tensors": 0})
    events.Reload()
    tags = set(events.Tags()["tensors"])
    for layer in ("fc1", "fc2"):
        for quantity in ("layer_sparsity", "layer_density", "layer_threshold", "kept_weights"):
            assert f"{quantity}/{layer}" in tags
    for tag in ("loss", "accuracy/train", "accuracy/test", "learning_rate", "images_per_second"):
        assert [event.step for event in events.Tensors(tag)] == [1, 2, 3]
    assert {"sparsity/group", "sparsity/model", "flags", "layers"} <= tags
    group = make_ndarray(events.Tensors("sparsity/group")[-1].tensor_proto)
    assert group == pytest.approx(0.9)


def test_a_dry_run_shows_the_layers_and_writes_nothing(tmp_path):
    result = run(tmp_path, *QUICK, "--dry_run")
    assert result.returncode == 0, result.stderr
    assert "fc1" in result.stdout and list(tmp_path.iterdir()) == []


#: The command, whose files hold a weight that was removed.
BRING_A_WEIGHT_BACK = """
import os, sys
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np
from tfprune.main import main
from tfprune.quiet import quiet
with quiet():
    import tfprune.result_files as result_files

plain = result_files.forms_of
def one_comes_back(model, masks):
    forms, shrunk = plain(model, masks)
    kernel = forms[0].model.get_layer("fc1").kernel
    values = kernel.numpy()
    values.flat[np.flatnonzero(~masks["fc1/kernel"])[0]] = 1.0
    kernel.assign(values)
    return forms, shrunk
result_files.forms_of = one_comes_back
sys.exit(main(sys.argv[1:]))
"""


def test_a_weight_that_is_back_in_the_files_fails_the_run(finished, tmp_path):
    shutil.copytree(finished[0] / "runs", tmp_path / "runs")
    result = subprocess.run(
        [sys.executable, "-c", BRING_A_WEIGHT_BACK, *QUICK],
        cwd=tmp_path,
        env=environment(TF_CPP_MIN_LOG_LEVEL="3"),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith("tfprune: error: the audit did not pass: {'keras': 'failed'")
    audit = read_summary(tmp_path / "runs" / "quickstart-seed0" / "summary.json")["audit"]
    files = dict.fromkeys(FILES - {"dense_tflite"}, "failed")
    assert audit == {"pruned": "ok", "retrained": "ok"} | files


def test_tuning_does_not_look_at_the_test_set(tmp_path):
    flags = ("--validation_fraction=0.2", "--noexport", "--retrain_epochs=1", "--epochs=1")
    result = run(tmp_path, *QUICK, *flags)
    assert result.returncode == 0, result.stderr
    summary = read_summary(tmp_path / "runs" / "quickstart-seed0" / "summary.json")
    keys = [key for key in summary if key.endswith("_accuracy") and key != "validation_accuracy"]
    assert [summary[key] for key in keys] == [None] * len(keys)
    assert 0 < summary["validation_accuracy"] <= 1
    assert summary["history"][0]["test_accuracy"] is None


def deterministic_part(summary):
    """A summary without times, speeds, memory and compressed sizes."""
    text = json.dumps(summary)
    plain = json.loads(text)
    for key in ("wall_seconds", "images_per_second", "peak_memory_bytes"):
        del plain[key]
    for key in ("history", "control_history", "dense_history"):
        for row in plain[key]:
            del row["seconds"]
    for figures in plain["exports"].values():
        for key in ("bytes", "zipped_bytes", "latency_ms"):
            del figures[key]
    del plain["ledger"]["files"]  # the same bytes once more
    return plain


def test_two_deterministic_runs_at_once_are_equal_to_the_bit(tmp_path):
    flags = (*QUICK, "--deterministic", "--threads=2", "--noexport", "--nocode")
    processes = [
        subprocess.Popen(
            command(*flags, f"--runs_dir={name}"),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
        )
        for name in ("one", "other")
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert differences(tmp_path / "one", tmp_path / "other") == []


def test_a_second_run_in_one_folder_is_refused_and_the_first_goes_on(finished, tmp_path):
    shutil.copytree(finished[0] / "runs", tmp_path / "runs")
    with RunDir(tmp_path / "runs" / "quickstart-seed0").locked():
        result = run(tmp_path, *QUICK)
    assert result.returncode == 1
    assert result.stderr == (
        "tfprune: error: another process is running in 'runs/quickstart-seed0'\n"
    )
    assert differences(finished[0] / "runs", tmp_path / "runs") == []


@pytest.mark.skipif(os.name != "posix", reason="no limit on the size of files")
def test_a_full_disk_ends_in_a_line_that_names_the_file_and_spares_what_is_there(
    finished, tmp_path
):
    shutil.copytree(finished[0] / "runs", tmp_path / "runs")
    run_folder = tmp_path / "runs" / "quickstart-seed0"
    kept = (run_folder / "pruned.keras").read_bytes()
    # A limit on the size of files is as good as a full disk, and needs no disk of its own.
    result = subprocess.run(
        ["bash", "-c", 'ulimit -f 100; exec "$@"', "bash", *command(*QUICK)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr == (
        "tfprune: error: cannot write 'runs/quickstart-seed0/pruned.keras': File too large\n"
    )
    assert (run_folder / "pruned.keras").read_bytes() == kept
    assert list(run_folder.rglob(f".{8 * '[0-9a-f]'}-*")) == []
    assert read_summary(run_folder / "summary.json")["status"] == "failed"


def test_a_users_own_keras_3_model_goes_through_to_a_proven_tflite_file(tmp_path):
    script = """
import keras
keras.utils.set_random_seed(0)
from sklearn.datasets import load_digits
digits = load_digits()
model = keras.Sequential([
    keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 255), keras.layers.MaxPooling2D(2),
    keras.layers.Flatten(), keras.layers.Dense(40, activation="relu", name="hidden"),
    keras.layers.Dense(10, activation="softmax", name="out")])
model.compile("adam", "sparse_categorical_crossentropy")
model.save("mine.keras")
"""
    made = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(TF_CPP_MIN_LOG_LEVEL="3")
    )
    assert made.returncode == 0
    flags = ("--model=mine.keras", "--dataset=digits", "--normalization=none", "--sparsity=0.8")
    recipe = ("--retrain_epochs=8", "--nocontrol", "--noprogress")
    result = run(tmp_path, *flags, "--batch_size=16", *recipe)
    assert result.returncode == 0, result.stderr
    summary = read_summary(tmp_path / "runs" / "mine_fc80-seed0" / "summary.json")
    assert summary["network"] == "mine" and summary["dense_history"] is None
    assert [x["size"] - x["kept"] for x in summary["layers"]] == [7840 * 8 // 10, 0]
    assert summary["final_accuracy"] > 0.8 > summary["dense_accuracy"]
    assert summary["exports"]["tflite"]["accuracy"] == pytest.approx(
        summary["final_accuracy"], abs=1 / 359
    )
    assert summary["audit"]["tflite"] == "ok"
    stock = "import keras; keras.models.load_model('pruned.keras').summary()"
    loaded = subprocess.run(
        [sys.executable, "-c", stock],
        cwd=tmp_path / "runs" / "mine_fc80-seed0",
        env={k: v for k, v in environment().items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert loaded.returncode == 0 and "hidden" in loaded.stdout


def test_the_defaults_of_the_command_line_run_on_bundled_data(tmp_path):
    few = ("--epochs=1", "--retrain_epochs=1", "--noexport", "--noprogress")
    result = run(tmp_path, *few, TFDS_DATA_DIR=str(tmp_path / "none"))
    assert result.returncode == 0, result.stderr
    summary = read_summary(tmp_path / "runs" / "lenet5_fc90-seed0" / "summary.json")
    assert (summary["status"], summary["dataset"]) == ("complete", "digits")
    assert summary["group_sparsity"] == pytest.approx(0.9)
