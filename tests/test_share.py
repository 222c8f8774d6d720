"""Weight sharing as a stage of a run: shared, trained, coded, measured from the file; resumed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfprune.reporting.summary import read_summary

ROOT = Path(__file__).parents[1]
FLAGS = (
    f"--flagfile={ROOT / 'configs/quickstart.cfg'}",
    *("--epochs=2", "--lr_boundaries=", "--retrain_epochs=2", "--retrain_lr_boundaries="),
    *("--noprogress", "--nocontrol", "--noexport", "--code", "--deterministic"),
    *("--share_bits=conv=4,fc=3", "--share_epochs=2", "--share_lr_boundaries=1"),
    *("--share_rate=0.01", "--other_bits=8"),
)


def run(folder, *flags):
    return python(folder, "-m", "tfprune.main", *flags)


def python(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run: (working directory, run folder, its output)."""
    folder = tmp_path_factory.mktemp("shared")
    result = run(folder, *FLAGS)
    assert result.returncode == 0, result.stderr
    return folder, folder / "runs" / "quickstart-seed0", result.stdout


def test_the_summary_has_the_stage(finished):
    summary = read_summary(finished[1] / "summary.json")
    assert [row["epoch"] for row in summary["share_history"]] == [1, 2]
    rates = [row["learning_rate"] for row in summary["share_history"]]
    assert rates == pytest.approx([1e-4, 3e-5])
    assert summary["shared_accuracy"] == summary["share_history"][-1]["test_accuracy"]
    assert summary["share_rate"] == 0.01
    assert summary["share_first_accuracy"] > 0.5 and summary["shared_accuracy"] > 0.7
    assert summary["audit"] == dict.fromkeys(("pruned", "retrained", "shared", "tfprune"), "ok")
    coded = summary["exports"]["tfprune"]
    assert coded["bytes"] == coded["stages"]["context"]
    assert coded["bytes"] == (finished[1] / "model.tfprune").stat().st_size
    stages = coded["stages"]
    assert stages["context"] < stages["huffman"] < stages["shared"] < stages["sparse"]
    assert coded["accuracy"] == pytest.approx(summary["shared_accuracy"], abs=0.02)
    assert "shared" in finished[2]


def test_the_file_holds_few_values_and_every_zero(finished):
    from tfprune.compression.container import read
    from tfprune.pruning.masks import load_masks

    content, _ = read(finished[1] / "model.tfprune")
    masks = load_masks(finished[1] / "masks.npz")
    for name, most in {"conv1": 16, "conv2": 16, "fc1": 8, "fc2": 8, "fc3": 8}.items():
        kernel = content.arrays[f"{name}/kernel"]
        assert len(np.unique(kernel[kernel != 0])) <= most
        if f"{name}/kernel" in masks:
            assert np.array_equal(kernel != 0, masks[f"{name}/kernel"])


def test_the_same_command_skips_it_and_other_bits_are_refused(finished):
    folder, run_folder, _ = finished
    before = (run_folder / "model.tfprune").read_bytes()
    again = run(folder, *FLAGS)
    assert again.returncode == 0, again.stderr
    assert "share 1/2" not in again.stdout
    assert (run_folder / "model.tfprune").read_bytes() == before
    other = run(folder, *FLAGS, "--share_bits=5")
    assert other.returncode == 2
    assert "stage 'share' was made with other flags: --share_bits=5 (there: conv=4,fc=3)" in (
        other.stderr
    )


def test_bytes_find_the_price_once(finished):
    folder, run_folder, _ = finished
    limit = read_summary(run_folder / "summary.json")["exports"]["tfprune"]["bytes"]
    kept = [flag for flag in FLAGS if not flag.startswith("--share_rate")]
    flags = (*kept, f"--share_bytes={limit}", "--name=within")
    assert run(folder, *flags).returncode == 0
    within = folder / "runs" / "within-seed0"
    summary = read_summary(within / "summary.json")
    assert 0.99 * limit < summary["exports"]["tfprune"]["bytes"] <= limit
    # The same network at a price of 0.01 made the file that the limit was taken from; 0.3% of
    # the bytes are left for what training may add.
    assert 0.01 < summary["share_rate"] < 0.0125
    found = (within / "stages" / "share-price.json").stat().st_mtime_ns
    again = run(folder, *flags)
    assert again.returncode == 0, again.stderr
    assert "share 1/2" not in again.stdout
    assert (within / "stages" / "share-price.json").stat().st_mtime_ns == found
    other = run(folder, *flags, "--other_bits=16")  # another file, so another price
    assert other.returncode == 2
    assert "--other_bits=16 (there: 8)" in other.stderr


def test_a_file_that_training_made_larger_than_asked_for_is_said(caplog):
    from tfprune.result_files import warn_if_larger

    warn_if_larger(1000, 1000)
    warn_if_larger(1000, 0)  # nothing was asked for
    assert not caplog.messages
    warn_if_larger(1001, 1000)
    assert caplog.messages == [
        "model.tfprune has 1001 bytes, more than --share_bytes=1000: training changed the order "
        "of its centroids, and with it their code"
    ]


def test_a_finished_shared_run_is_not_replaced_by_one_that_does_not_share(finished):
    folder, run_folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in run_folder.iterdir()}
    kept = [flag for flag in FLAGS if not flag.startswith("--share")]
    result = run(folder, *kept)
    assert result.returncode == 2, result.stdout
    assert "stage 'share' was made with other flags: --share_bits= (there: conv=4,fc=3), " in (
        result.stderr
    )
    changed = {path.name for path in before if path.stat().st_mtime_ns != before[path]}
    assert changed <= {".lock-run", "log.txt"}  # nor "stages", a folder


#: The command, which is told to stop after the first epoch of its centroids.
STOP_WITHIN_THE_STAGE = """
import logging, os, signal, sys
from tfprune.main import main

plain = logging.Logger.handle
def handle(self, record):
    plain(self, record)
    if record.getMessage().startswith("share 1/2"):
        os.kill(os.getpid(), signal.SIGTERM)
logging.Logger.handle = handle
sys.exit(main(sys.argv[1:]))
"""


def test_a_stage_that_was_stopped_goes_on_to_the_same_bits(finished, tmp_path):
    shutil.copytree(finished[0] / "runs", tmp_path / "runs")
    coded = tmp_path / "runs" / "quickstart-seed0" / "model.tfprune"
    before = coded.read_bytes()
    for kept in ("model.tfprune", "stages/share.json", "stages/share.npz"):
        (coded.parent / kept).unlink()
    stopped = python(tmp_path, "-c", STOP_WITHIN_THE_STAGE, *FLAGS)
    assert stopped.returncode == 143, stopped.stderr
    assert "SIGTERM: stopped at share, epoch 2" in stopped.stderr
    again = run(tmp_path, *FLAGS)
    assert again.returncode == 0, again.stderr
    assert "share: goes on at epoch 2" in again.stdout
    assert "share 2/2" in again.stdout and "share 1/2" not in again.stdout
    assert coded.read_bytes() == before
