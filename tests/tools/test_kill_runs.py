"""Runs that are killed or stopped end as if nothing had been, and what compares them is strict."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from tfprune.pruning.masks import save_masks
from tfprune.reporting.summary import empty_summary, write_summary
from tfprune.training.checkpoint import save_arrays

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from compare_runs import differences, main  # noqa: E402


def test_runs_killed_and_stopped_in_different_stages_end_equal_to_the_bit():
    quick = ("--epochs=2", "--lr_boundaries=", "--retrain_epochs=2", "--retrain_lr_boundaries=")
    result = subprocess.run(
        [
            *(sys.executable, ROOT / "tools" / "kill_runs.py", "--kills=3", "--per_run=3"),
            *("--signals=KILL,TERM,INT", f"--flagfile={ROOT / 'configs/quickstart.cfg'}"),
            *("--", *quick, "--batch_size=8"),
        ],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("3 of 3 kills: resumed, and equal to the bit\n")


HISTORY = {"epoch": 1, "loss": 0.5, "train_accuracy": 0.5, "test_accuracy": 0.5}


@pytest.fixture
def runs(tmp_path):
    """Two equal runs folders with something of each kind."""
    folder = tmp_path / "one" / "a-seed0"
    save_arrays(folder / "stages" / "retrain.npz", [np.arange(4, dtype=np.float32)], {})
    save_masks(folder / "masks.npz", {"fc1/kernel": np.ones((2, 2), bool)})
    write_summary(
        folder / "summary.json",
        empty_summary()
        | {"status": "complete", "name": "a", "network": "x", "group": "fc", "seed": 0}
        | {"target_sparsity": 0.9, "wall_seconds": 1.0, "final_accuracy": 0.5}
        | {"history": [HISTORY | {"learning_rate": 0.1, "seconds": 3.0}]},
    )
    (folder / "flags.cfg").write_text("--runs_dir=one\n--epochs=1\n")
    (folder / "log.txt").write_text("a log\n")
    (folder / "model.tfprune").write_bytes(b"\x93TFPRUNE")
    write_points(folder / "tensorboard" / "retrain" / "events.out.tfevents.00001", 0.5)
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    return tmp_path / "one", tmp_path / "other"


def write_points(path, loss, step=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    value = Summary.Value(tag="loss")
    value.tensor.float_val.append(loss)
    with path.open("wb") as file:
        event = Event(step=step, wall_time=1.0, summary=Summary(value=[value]))
        RecordWriter(file).write(event.SerializeToString())


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_equal_runs_differ_in_nothing_but_times_logs_and_where_they_are(runs, capsys):
    one, other = runs
    edit(other / "a-seed0" / "summary.json", '"wall_seconds": 1.0', '"wall_seconds": 2.0')
    edit(other / "a-seed0" / "summary.json", '"seconds": 3.0', '"seconds": 4.0')
    edit(other / "a-seed0" / "flags.cfg", "=one", "=other")
    edit(other / "a-seed0" / "log.txt", "a log", "another log")
    assert differences(one, other) == []
    assert main([str(one), str(other)]) == 0 and capsys.readouterr().out == "equal: 6 files\n"


ONE_BIT = np.arange(4, dtype=np.float32)
ONE_BIT.view(np.uint32)[2] ^= 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: save_arrays(f / "stages" / "retrain.npz", [ONE_BIT], {}), "stages/retrain.npz"),
        (
            lambda f: save_masks(f / "masks.npz", {"fc1/kernel": np.eye(2) > 0}),
            "masks.npz: ['fc1/kernel:bits']",
        ),
        (
            lambda f: edit(f / "summary.json", '"loss": 0.5', '"loss": 0.25'),
            "summary.json: ['history'][0]['loss'] differs: 0.5, 0.25",
        ),
        (lambda f: edit(f / "flags.cfg", "epochs=1", "epochs=2"), "flags.cfg: [0] differs"),
        (lambda f: (f / "model.tfprune").write_bytes(b""), "model.tfprune"),
        (lambda f: (f / "masks.npz").unlink(), "masks.npz: only in one"),
        (lambda f: (f / "checkpoints").mkdir() or (f / "checkpoints/x").touch(), "only in one"),
        (
            lambda f: write_points(f / "tensorboard/retrain/events.out.tfevents.00001", 0.75),
            "events.out.tfevents.00001: [('loss', 1)] differs",
        ),
    ],
)
def test_the_smallest_difference_is_found_and_named(runs, change, said, capsys):
    one, other = runs
    change(other / "a-seed0")
    (found,) = differences(one, other)
    assert said in found
    assert main([str(one), str(other)]) == 1


def test_a_doubled_point_is_found_even_where_both_runs_have_it(runs):
    for folder in runs:
        write_points(folder / "a-seed0/tensorboard/retrain/events.out.tfevents.00002", 0.5)
    found = differences(*runs)
    assert len(found) == 2 and all("a point stands twice" in text for text in found)


def test_wrong_usage_is_status_2(tmp_path, capsys):
    assert main([]) == 2 and main([str(tmp_path), "none"]) == 2
    assert "RUNS_DIR OTHER_RUNS_DIR" in capsys.readouterr().out


def test_a_record_is_compared_without_its_checksum(runs):
    for number, folder in enumerate(runs):
        record = {"result": {"history": [{"epoch": 1, "seconds": number}]}, "checksum": number}
        (folder / "a-seed0" / "stages" / "retrain.json").write_text(json.dumps(record))
    assert differences(*runs) == []
