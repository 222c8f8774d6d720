"""Many runs from one command, as a user starts it: on the bundled digits, few epochs."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfprune.config import Config
from tfprune.errors import UsageError
from tfprune.job import Job, find_configs, plan
from tfprune.reporting.summary import read_summary
from tfprune.sweep import main, run_all

ROOT = Path(__file__).parents[1]
CONFIGS = {
    "tiny_base.cfg": ["--model=lenet300_100", "--epochs=20", "--retrain_epochs=1"],
    "conv50.cfg": ["--flagfile=tiny_base.cfg", "--name=all50", "--group=all", "--sparsity=0.5"],
    "fc90.cfg": ["--flagfile=tiny_base.cfg", "--name=fc90", "--group=fc"],
    "wrong.cfg": ["--flagfile=tiny_base.cfg", "--name=wrong", "--group=conv7"],
}
QUICK = ("--", "--noexport", "--notensorboard")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with configs."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "configs").mkdir()
    for name, lines in CONFIGS.items():
        (folder / "configs" / name).write_text("\n".join(lines) + "\n")
    return folder


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tfprune.sweep", *arguments],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
        | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def swept(folder):
    """A sweep of three runs, one of which fails: (status, stdout, stderr)."""
    process = start(folder, "configs", "--jobs=2", *QUICK)
    out, err = process.communicate()
    return process.returncode, out, err


def test_a_run_that_fails_is_named_at_the_end_and_the_others_go_on(folder, swept):
    status, out, err = swept
    assert status == 1
    assert err == "tfprune: error: 1 of 3 runs failed: wrong seed 0\n"
    assert "wrong seed 0" in out and "no layer called 'conv7'" in out
    for name in ("all50", "fc90"):
        summary = read_summary(folder / "runs" / f"{name}-seed0" / "summary.json")
        assert summary["status"] == "complete"
        assert f"final {summary['final_accuracy']:.4f}" in out


def test_two_processes_that_need_one_baseline_at_once_train_it_once(folder, swept):
    logs = [(folder / "runs" / "logs" / f"{name}-seed0.txt").read_text() for name in NAMES]
    for stage in ("dense 1/20", "control 1/1"):
        assert sum(log.count(f"\n{stage} ") for log in logs) == 1
    assert len(list((folder / "runs" / "baselines").iterdir())) == 1
    accuracies = [
        read_summary(folder / "runs" / f"{name}-seed0" / "summary.json")[key]
        for key in ("dense_accuracy", "control_accuracy")
        for name in NAMES
    ]
    assert accuracies[0] == accuracies[1] and accuracies[2] == accuracies[3]


NAMES = ("all50", "fc90")


def test_the_end_is_a_report_of_all_runs(folder, swept):
    table = (folder / "runs" / "report" / "results.md").read_text()
    assert "| all50 |" in table and "| fc90 |" in table
    assert "report of 2 runs" in swept[1]  # the third was refused before it had a folder


def test_finished_runs_are_skipped_and_copies_collected(folder, swept, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = (folder / "runs" / "all50-seed0" / "log.txt").stat().st_mtime_ns
    arguments = ["configs/*0.cfg", "--out=results", "--collect", "--no-plots", *QUICK]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.count(": stands: ") == 2 and "started" not in out
    assert (folder / "runs" / "all50-seed0" / "log.txt").stat().st_mtime_ns == before
    copies = sorted(path.name for path in (folder / "results").glob("*.json"))
    assert copies == ["all50-seed0.json", "fc90-seed0.json"]


def test_a_run_stands_only_with_the_same_flags_and_all_that_is_asked_for(
    folder, swept, monkeypatch
):
    monkeypatch.chdir(folder)
    configs = find_configs(["configs/conv50.cfg"])
    (job,) = plan(configs, [0], ["--noexport", "--threads=2", "--progress"])
    assert job.stands()
    for flag in ("--export", "--noexport --code", "--noexport --epochs=3", "--noexport --name=x"):
        (job,) = plan(configs, [0], flag.split())
        assert not job.stands(), flag
    (job,) = plan(configs, [1], ["--noexport"])
    assert not job.stands()


@pytest.mark.parametrize(
    ("held", "asked", "stands"),
    [
        ("--quantize=int8,qat", "", True),
        ("--quantize=int8,qat", "--quantize=qat", True),
        ("--quantize=int8", "--quantize=float16", False),
        ("--quantize=int8", "--quantize=int8,float16", False),
        ("--quantize=int8,qat", "--quantize=qat --qat_epochs=3", False),
        ("--quantize=int8,qat --qat_epochs=3", "--quantize=int8", True),
        ("--code --coder=huffman", "--code", False),
        ("--code --coder=huffman", "--code --coder=huffman", True),
        ("--code --coder=huffman", "", True),
    ],
)
def test_a_run_stands_for_the_files_that_it_has_made_as_they_are_asked_for(
    folder, swept, tmp_path, held, asked, stands
):
    shutil.copytree(folder / "runs" / "all50-seed0", tmp_path / "all50-seed0")
    with (tmp_path / "all50-seed0" / "flags.cfg").open("a") as file:
        file.write("\n".join(["--export", *held.split(), ""]))
    configs = find_configs([str(folder / "configs/conv50.cfg")])
    (job,) = plan(configs, [0], [f"--runs_dir={tmp_path}", *asked.split()])
    assert job.stands() is stands


def test_a_run_that_ends_without_a_summary_has_failed_and_the_others_go_on(tmp_path, capsys):
    jobs = [
        Job(Path(), Config(runs_dir=str(tmp_path), name=flag), [f"--{flag}"], flag)
        for flag in ("help", "dry_run")  # both exit with 0
    ]
    failed = run_all(jobs, at_once=2, threads=1)
    assert {job.place for job in failed} == {"help", "dry_run"}
    lines = [line for line in capsys.readouterr().out.splitlines() if "started" not in line]
    assert len(lines) == 2
    assert all(": failed: " in line and "summary.json" in line for line in lines)


def test_ctrl_c_ends_all_runs_with_a_checkpoint_and_says_how_to_resume(folder, tmp_path):
    process = start(
        folder,
        *("configs/conv50.cfg", "--seeds=0,1", "--jobs=2"),
        *("--", f"--runs_dir={tmp_path}", "--epochs=100000", "--notensorboard", "--threads=1"),
    )
    while len(list(tmp_path.glob("baselines/*/checkpoints/dense-*"))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert err == (
        "tfprune: error: SIGINT: stopped with 0 of 2 runs finished; the same command resumes\n"
    )
    assert out.count("SIGINT: stopped at dense, epoch") == 2
    for seed in (0, 1):
        summary = read_summary(tmp_path / f"all50-seed{seed}" / "summary.json")
        assert summary["status"] == "interrupted"


def test_the_run_that_trains_a_baseline_comes_before_those_that_share_it(tmp_path):
    flags = {"a_conv50": "--group=conv", "b_fc50": "", "c_dense": "--sparsity=0"}
    for name, flag in flags.items():
        (tmp_path / f"{name}.cfg").write_text(f"--name={name}\n{flag}\n")
    jobs = plan(find_configs([str(tmp_path)]), [3, 4], [])
    assert [(job.config.name, job.config.seed) for job in jobs] == [
        *(("c_dense", 3), ("c_dense", 4), ("a_conv50", 3), ("a_conv50", 4)),
        *(("b_fc50", 3), ("b_fc50", 4)),
    ]
    assert [job.place for job in jobs][:2] == ["[1/6] c_dense seed 3", "[2/6] c_dense seed 4"]


def test_files_folders_and_patterns_name_configs_once_and_no_base(folder):
    names = ["conv50.cfg", "fc90.cfg", "wrong.cfg"]
    inside = folder / "configs"
    for places in (
        [inside],
        [inside / "*.cfg"],
        [inside / name for name in sorted(CONFIGS)],
        [inside, inside / "fc90.cfg"],
    ):
        assert [path.name for path in find_configs(list(map(str, places)))] == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.cfg"], "there is no flagfile 'none.cfg'"),
        (["configs/tiny_base.cfg"], "only *_base.cfg files"),
        (["configs", "--seeds=0,x"], "--seeds takes different whole numbers from 0; received"),
        (["configs", "--seeds=1,1"], "--seeds takes different whole numbers from 0; received"),
        (["configs", "--jobs=0"], "--jobs takes different whole numbers from 1; received '0'"),
        (["configs", "--jobs=1,2"], "--jobs takes one number; received '1,2'"),
        (["configs", "--", "--epochs=-1"], "conv50.cfg: --epochs must be in [0, inf]"),
        (["configs", "--", "--dry_run"], "conv50.cfg: a sweep takes no --dry_run"),
        (["configs", "--", "--name=x"], "two runs would share the folder 'runs/x-seed0'"),
        (["configs/fc90.cfg", "--seeds=0,1", "--", "--seed=1"], "two runs would share the folder"),
        (["configs", "--sedes=1"], "unrecognized arguments: --sedes=1"),
        ([], "the following arguments are required: CONFIG"),
    ],
)
def test_usage_errors_are_one_line_and_start_nothing(
    folder, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_a_report_alone_runs_nothing(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([str(folder / "configs"), "--report-only"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == "nothing to report: no run has a summary yet\n"


def test_a_report_of_what_was_collected_needs_no_run(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "results"
    out.mkdir()
    held = ROOT / "results" / "lenet5" / "lenet5_conv90-seed0.json"
    shutil.copyfile(held, out / held.name)
    arguments = [str(folder / "configs"), "--report-only", "--collect", f"--out={out}"]
    assert main([*arguments, "--no-plots"]) == 0
    assert capsys.readouterr().out.startswith("report of 1 runs:\n")
    assert "lenet5_conv90" in (out / "results.md").read_text()


def test_two_seeds_are_not_sent_into_one_folder():
    config = ROOT / "configs/quickstart.cfg"
    with pytest.raises(UsageError, match=r"'x'; received .*cfg seed 0 and .*cfg seed 1"):
        plan([config], [0, 1], ["--run_dir=x"])
