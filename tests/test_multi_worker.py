"""Two workers on loopback, as a user starts them: each in its own process, on the digits."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tfprune.reporting.summary import read_summary

ROOT = Path(__file__).parents[1]
FLAGS = (
    *("--dataset=digits", "--model=lenet5", "--name=run", "--augment_shift=2", "--batch_size=16"),
    *("--epochs=6", "--retrain_epochs=1", "--learning_rate=0.002", "--weight_decay=0.001"),
    *("--nocontrol", "--noexport", "--notensorboard", "--noprogress"),
    *("--deterministic", "--threads=1"),
)
#: The command, which also keeps what it trained: losses by stage and step, and all variables.
RECORDER = """
import os, sys
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np
from tfprune.main import main
from tfprune.quiet import quiet
with quiet():
    from tfprune.training.steps import Steps

plain, stages = Steps.run, {}
def recording(self, *arguments):
    losses, right = plain(self, *arguments)
    stages.setdefault(self, []).append(losses)
    return losses, right
Steps.run = recording
if "LOSE_A_WEIGHT" in os.environ:  # a worker whose masks go astray
    assign = Steps.assign
    def astray(self, arrays):
        arrays = [array.copy() for array in arrays]
        for mask in (array for array in arrays if array.dtype == bool):
            mask.flat[0] = not mask.flat[0]
        assign(self, arrays)
    Steps.assign = astray
status = main(sys.argv[2:])
if status == 0:
    losses = {f"losses{i}": np.concatenate(each) for i, each in enumerate(stages.values())}
    last = list(stages)[-1]  # that of retraining
    masks = np.concatenate([mask.ravel() for mask in last.masks()[0]])
    np.savez(sys.argv[1], *last.read(), masks=masks, **losses)
sys.exit(status)
"""


def free_ports(count):
    servers = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def start(folder, flags=FLAGS, **changes):
    kept = {k: v for k, v in os.environ.items() if k not in ("TF_USE_LEGACY_KERAS", "TF_CONFIG")}
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", RECORDER, "recorded.npz", *flags],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"} | changes,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_pair(folder, *others, **changes):
    """Two workers, each in a folder of its own; the second with more flags and variables."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    return [
        start(
            folder / f"worker{index}",
            (*FLAGS, "--strategy=multi_worker", *(others if index else ())),
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            ),
            **(changes if index else {}),
        )
        for index in (0, 1)
    ]


def outcomes(processes, seconds=1500):
    """(exit status, standard output, standard error) of each; none survives."""
    try:
        texts = [process.communicate(timeout=seconds) for process in processes]
        return [(p.returncode, *each) for p, each in zip(processes, texts, strict=True)]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run of two workers: (folder, what each gave)."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, outcomes(start_pair(folder))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same run by one worker: its folder."""
    folder = tmp_path_factory.mktemp("alone")
    ((status, _, errors),) = outcomes([start(folder)])
    assert status == 0, errors
    return folder


def recorded(folder):
    with np.load(folder / "recorded.npz") as archive:
        return {name: archive[name] for name in archive.files}


def test_two_workers_finish_and_only_the_chief_speaks_and_writes(finished):
    folder, ((status, output, errors), (other_status, other_output, other_errors)) = finished
    assert (status, other_status) == (0, 0), errors + other_errors
    assert "audit of the zeros: ok" in output and errors == ""
    assert (other_output, other_errors) == ("", "")
    assert (folder / "worker0" / "runs" / "run-seed0" / "summary.json").is_file()
    written = [path.name for path in (folder / "worker1").rglob("*") if path.is_file()]
    assert written == ["recorded.npz"]


def test_the_first_losses_are_those_of_one_worker(finished, alone):
    pair, single = recorded(finished[0] / "worker0"), recorded(alone)
    assert len(pair["losses0"]) == 6 * (1438 // 16)
    np.testing.assert_allclose(pair["losses0"][:50], single["losses0"][:50], rtol=0, atol=1e-4)


def test_weights_masks_and_optimizer_of_both_workers_are_equal_to_the_bit(finished):
    chief, other = (recorded(finished[0] / f"worker{index}") for index in (0, 1))
    assert chief.keys() == other.keys()
    assert len(chief["masks"]) > 30720 + 10080
    kept = round(0.1 * (30720 + 10080))
    assert kept <= chief["masks"].sum() <= kept + 120 + 84  # and the biases of live units
    for name in chief:
        np.testing.assert_array_equal(chief[name], other[name])


def shape_of(value):
    """What a summary looks like: keys and kinds, without the figures."""
    if isinstance(value, dict):
        return {key: shape_of(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape_of(each) for each in value]
    return type(value)


def test_the_summary_has_the_form_of_one_workers(finished, alone):
    folders = finished[0] / "worker0", alone
    pair, single = (read_summary(folder / "runs/run-seed0/summary.json") for folder in folders)
    assert shape_of(pair) == shape_of(single)
    assert pair["group_sparsity"] == single["group_sparsity"] == pytest.approx(0.9)
    assert pair["audit"] == {"pruned": "ok", "retrained": "ok"}
    assert pair["final_accuracy"] > 0.8


def wait_for(pattern, folder, process):
    while process.poll() is None and not list(folder.glob(pattern)):
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


def test_a_killed_worker_ends_the_other_and_the_run_resumes_to_the_same_figures(tmp_path, finished):
    chief, other = pair = start_pair(tmp_path)
    try:
        wait_for("worker0/runs/baselines/*/checkpoints/dense-*.npz", tmp_path, chief)
        other.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        status, _, errors = outcomes([chief], 60)[0]
    finally:
        outcomes(pair)
    assert time.monotonic() - killed < 60
    assert status == 1
    assert "lost worker 1 (127.0.0.1:" in errors and "start all workers again" in errors
    assert errors.startswith("tfprune: error: ") and errors.count("\n") == 1

    # SIGTERM to the one that follows: both stop, the chief with a checkpoint.
    chief, other = pair = start_pair(tmp_path)
    try:
        wait_for("worker0/runs/baselines/*/checkpoints/dense-00003*.npz", tmp_path, chief)
        other.send_signal(signal.SIGTERM)
        results = outcomes(pair)
    finally:
        outcomes(pair)
    assert [result[0] for result in results] == [143, 143]
    assert "SIGTERM: stopped at dense, epoch " in results[0][2]
    assert "checkpoint written" in results[0][2] and "the chief" in results[1][2]

    results = outcomes(start_pair(tmp_path))
    assert [result[0] for result in results] == [0, 0], results
    assert "goes on at epoch " in results[0][1]
    whole, parts = (recorded(each / "worker0") for each in (finished[0], tmp_path))
    for name in whole.keys() - {"losses0"}:
        np.testing.assert_array_equal(whole[name], parts[name])
    summaries = [
        read_summary(each / "worker0/runs/run-seed0/summary.json")
        for each in (finished[0], tmp_path)
    ]
    for key in ("dense_accuracy", "first_test_accuracy", "final_accuracy", "layers"):
        assert summaries[0][key] == summaries[1][key]


def test_workers_started_otherwise_are_told_what_differs(tmp_path):
    results = outcomes(start_pair(tmp_path, "--seed=3", "--nodeterministic"))
    assert [result[0] for result in results] == [2, 2]
    for _, _, errors in results:
        assert "worker 1 (127.0.0.1:" in errors and errors.count("\n") == 1
        assert "--seed 3 (the chief's: 0)" in errors and "--deterministic False" in errors
    assert not list(tmp_path.glob("worker0/runs/*/stages"))


def test_masks_that_differ_end_both_workers(tmp_path):
    results = outcomes(start_pair(tmp_path, LOSE_A_WEIGHT="1"))
    assert [result[0] for result in results] == [1, 1]
    for _, _, errors in results:
        assert "the masks of worker 1 (127.0.0.1:" in errors and "differ from the chief's" in errors
    summary = read_summary(tmp_path / "worker0/runs/run-seed0/summary.json")
    assert summary["dense_accuracy"] is not None and summary["final_accuracy"] is None
