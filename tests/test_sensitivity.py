"""The command `python -m tfprune.sensitivity`, and `--allocation=sensitivity` of the main one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfprune.flags import parse
from tfprune.reporting.summary import read_summary
from tfprune.sensitivity import _FORCED

ROOT = Path(__file__).parents[1]
QUICK = (
    f"--flagfile={ROOT / 'configs/quickstart.cfg'}",
    *("--epochs=2", "--lr_boundaries=", "--noprogress", "--group=all", "--threads=1"),
    "--sensitivity_sparsities=0.5,0.9,0.95",
)


COMMAND = ["-m", "tfprune.sensitivity"]


def run(command, folder, *flags, **changes):
    # The command chooses its Keras, whichever the tests run under.
    kept = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, *command, *flags],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"} | changes,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A finished scan: (working directory, `sensitivity.json`, its output)."""
    folder = tmp_path_factory.mktemp("scanned")
    result = run(COMMAND, folder, *QUICK)
    assert result.returncode == 0, result.stderr
    path = folder / "runs" / "quickstart-seed0" / "sensitivity.json"
    return folder, json.loads(path.read_text()), result.stdout


def test_the_scan_judges_each_layer_on_training_images(scanned):
    folder, record, _ = scanned
    assert (record["network"], record["dataset"], record["group"]) == ("lenet5", "digits", "all")
    # 1438 training images: too few for a tenth of them to be a thousand, so half of them.
    assert record["judged_images"] == 719 and "training images" in record["judged_on"]
    layers = {layer["name"]: layer for layer in record["layers"]}
    assert {n: layer["size"] for n, layer in layers.items()} == {
        **{"conv1": 150, "conv2": 2400},
        **{"fc1": 30720, "fc2": 10080},
    }
    for layer in layers.values():
        assert [sparsity for sparsity, _ in layer["points"]] == [0.5, 0.9, 0.95]
        assert layer["points"][0][1] > layer["points"][-1][1]
        hits = np.array([accuracy for _, accuracy in layer["points"]]) * 719
        np.testing.assert_allclose(hits, hits.round(), atol=1e-6)
    assert (folder / "runs/quickstart-seed0/sensitivity.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "runs/quickstart-seed0/summary.json").exists()


def test_it_proposes_for_a_budget_and_for_the_target_as_flags_of_the_main_command(scanned):
    _, record, output = scanned
    budget, target = record["proposals"]
    assert (budget["accuracy_budget"], target["target_sparsity"]) == (0.01, 0.9)
    assert budget["measured_accuracy"] >= record["dense_accuracy"] - 0.01 - 1e-9
    assert budget["sparsity"] > 0
    assert sum(layer["removed"] for layer in target["layers"]) == 39015  # 0.9 * 43350
    assert 0 < target["measured_accuracy"] < 1
    flags = [line.split(": ", 1)[1] for line in output.splitlines() if line.startswith("as flags")]
    for line, proposal in zip(flags, (budget, target), strict=True):
        wanted = {layer["name"]: layer["sparsity"] for layer in proposal["layers"]}
        given = parse([*QUICK, *line.split()]).sparsity_by_layer()
        assert given == pytest.approx(wanted, abs=1e-2)


def test_the_main_command_finds_the_scan_and_prunes_as_proposed(scanned):
    folder, record, _ = scanned
    command = ["-m", "tfprune.main"]
    flags = (*QUICK, "--allocation=sensitivity", "--retrain_epochs=1", "--retrain_lr_boundaries=")
    flags = (*flags, "--name=target", "--nocontrol", "--noexport")
    result = run(command, folder, *flags)
    assert result.returncode == 0, result.stderr
    assert "dense 1/2" not in result.stdout and "judged on" not in result.stdout
    summary = read_summary(folder / "runs/target-seed0/summary.json")
    assert summary["allocation"] == "sensitivity"
    removed = {x["name"]: x["size"] - x["kept"] for x in summary["layers"] if x["pruned"]}
    assert removed == {x["name"]: x["removed"] for x in record["proposals"][1]["layers"]}
    assert "proposed for a sparsity of 0.9" in result.stdout
    again = run(command, folder, *flags)
    assert again.returncode == 0 and "proposed for" not in again.stdout  # the masks stand
    summary_again = read_summary(folder / "runs/target-seed0/summary.json")
    for key in ("layers", "first_test_accuracy", "target_sparsity", "final_accuracy"):
        assert summary_again[key] == summary[key]
    assert set(summary["audit"].values()) == {"ok"}


def test_a_scan_told_to_stop_keeps_its_points_and_the_main_command_goes_on_from_them(scanned):
    # SIGTERM after the third point, then figures that no scan would give in their place.
    code = (
        "import os, signal, sys, tfprune.sensitivity as command\n"
        "import tfprune.scan as scan\n"
        "write, calls = scan._write_points, []\n"
        "def write_and_be_told_to_stop(*arguments):\n"
        "    write(*arguments)\n"
        "    calls.append(arguments)\n"
        "    if len(calls) == 3: os.kill(os.getpid(), signal.SIGTERM)\n"
        "scan._write_points = write_and_be_told_to_stop\n"
        "sys.exit(command.main(sys.argv[1:]))"
    )
    folder, _, _ = scanned
    flags = (*QUICK, "--criterion=random", "--name=stopped", "--accuracy_budget=0.03")
    stopped = run(["-c", code], folder, *flags)
    assert stopped.returncode == 143, stopped.stderr
    assert "SIGTERM: stopped at sensitivity point 3 of 13" in stopped.stderr
    (partial,) = (folder / "runs/baselines").glob("*/checkpoints/sensitivity-*.json")
    held = json.loads(partial.read_text())
    assert [point[:2] for point in held["points"]] == [[None, 0], ["conv1", 0.5], ["conv1", 0.9]]
    held["points"][0][2], held["points"][1][2] = 0.875, 0.75
    partial.write_text(json.dumps(held))

    more = ("--allocation=sensitivity", "--retrain_epochs=0", "--noexport")
    result = run(["-m", "tfprune.main"], folder, *flags, *more)
    assert result.returncode == 0, result.stderr
    record = json.loads((folder / "runs/stopped-seed0/sensitivity.json").read_text())
    assert record["dense_accuracy"] == 0.875 and record["criterion"] == "random"
    assert record["layers"][0]["points"][0] == [0.5, 0.75]
    assert record["layers"][0]["points"][1] == held["points"][2][1:]
    assert not partial.exists()
    (proposal,) = record["proposals"]
    assert proposal["measured_accuracy"] >= 0.875 - 0.03 - 1e-9
    summary = read_summary(folder / "runs/stopped-seed0/summary.json")
    assert summary["group_sparsity"] == pytest.approx(proposal["sparsity"])
    assert summary["target_sparsity"] == round(proposal["sparsity"], 4)


@pytest.mark.parametrize("more", [(), ("--sparsity=0",)])
def test_a_group_that_is_not_there_leaves_no_run_folder(scanned, tmp_path, more):
    result = run(COMMAND, tmp_path, *QUICK, "--group=conv7", *more)
    assert result.returncode == 2
    assert "no layer called 'conv7'" in result.stderr and result.stderr.count("\n") == 1
    assert not list(tmp_path.glob("runs/*-seed0")) and not list(tmp_path.glob("runs/baselines"))


@pytest.mark.parametrize(
    "flags",
    [
        "--schedule=gradual --gradual_epochs=3 --gradual_interval=7",
        "--schedule=iterative --rounds=3 --round_epochs=2",
        "--granularity=filter --target_macs=1000",
        "--granularity=2:4",
        "--target_bytes=20000",
        "--allocation=explicit --layer_sparsity=conv*=0.5",
        "--allocation=stddev --stddev_quality=1",
    ],
)
def test_whatever_a_flagfile_would_prune_single_weights_are_scanned(flags):
    parse([*QUICK, *flags.split()])  # the main command takes them
    assert parse([*QUICK, *flags.split(), *_FORCED]) == parse([*QUICK, "--allocation=sensitivity"])


def test_the_scan_of_layers_is_found_for_what_will_be_pruned_otherwise(scanned):
    flags = ("--schedule=gradual", "--gradual_epochs=3", "--granularity=filter", "--sparsity=0.8")
    result = run(COMMAND, scanned[0], *QUICK, *flags, "--name=otherwise")
    assert result.returncode == 0, result.stderr
    assert "judged on" not in result.stdout and "proposed for a sparsity of 0.8" in result.stdout


def test_help_exits_0_without_tensorflow(tmp_path):
    result = run(COMMAND, tmp_path, "--help", PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0
    assert "python -m tfprune.sensitivity" in result.stdout
    assert "--accuracy_budget" in result.stdout and "--sensitivity_sparsities" in result.stdout
    assert "| tensorflow" not in result.stderr


@pytest.mark.parametrize(
    ("flag", "status", "message"),
    [
        ("--accuracy_budget=-1", 2, "--accuracy_budget must be in [0, 1]; received -1.0"),
        ("--sensitivity_sparsities=0.5,x", 2, "takes numbers; received '0.5,x'"),
        ("--sensitivity_sparsities=0.9,0.5", 2, "must ascend"),
        ("--sparsity=0.96", 2, "--sparsity must not exceed the last of --sensitivity_sparsities"),
        ("--dry_run", 2, "--dry_run trains nothing"),
        ("--criterion=snip", 2, "error: a sensitivity scan removes single weights by a criterion"),
        ("--model=none.keras", 1, "there is no file 'none.keras'"),
    ],
)
def test_each_fault_is_one_clear_line_with_its_exit_status(scanned, flag, status, message):
    folder, _, _ = scanned
    result = run(COMMAND, folder, *QUICK, flag)
    assert result.returncode == status, result.stderr
    assert message in result.stderr
    assert result.stderr.startswith("tfprune: error: ") and result.stderr.count("\n") == 1
