import subprocess
import sys

import pytest

from tfprune.report import main
from tfprune.reporting.summary import empty_summary, read_summary, write_summary

LAYER = {
    "name": "conv1",
    "kind": "conv",
    "shape": [5, 5, 1, 6],
    "size": 150,
    "kept": 128,
    "sparsity": 22 / 150,
    "threshold": 0.03,
    "pruned": True,
}


def _summary(name="lenet5_conv50", seed=0, **changes):
    epochs = [
        {"epoch": number, "loss": 0.1, "train_accuracy": 0.99, "test_accuracy": 0.98}
        | {"learning_rate": 1e-3, "seconds": 7.0}
        for number in range(1, 31)
    ]
    return (
        empty_summary()
        | {"status": "complete", "name": name, "seed": seed, "network": "lenet5"}
        | {"dataset": "mnist", "group": "conv", "target_sparsity": 0.5, "final_accuracy": 0.98}
        | {"history": epochs, "layers": [LAYER]}
        | changes
    )


def _write_run(folder, name="lenet5_conv50", seed=0, **changes):
    run = folder / f"{name}-seed{seed}"
    run.mkdir(parents=True)
    write_summary(run / "summary.json", _summary(name, seed, **changes))
    return run


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_of_runs_becomes_tables_and_plots(tmp_path, capsys):
    runs, out = tmp_path / "runs", tmp_path / "out" / "lenet5"
    for seed in range(2):
        _write_run(runs, seed=seed)
    (runs / "baselines" / "lenet5-mnist-seed0").mkdir(parents=True)
    (runs / "baselines" / "lenet5-mnist-seed0" / "dense.json").write_text("{}")
    assert main([str(runs), "--out", str(out)]) == 0
    assert _names(out) == [
        *("accuracy.png", "headline.md", "layers.md", "layers.png"),
        *("results.csv", "results.md", "retraining.png"),
    ]
    assert "| lenet5_conv50 | conv | 50.00 | 2 seeds |" in (out / "results.md").read_text()
    assert "2 runs; wrote" in capsys.readouterr().out


def test_collected_copies_give_the_same_report_as_the_run_folders(tmp_path):
    runs, out, again = (tmp_path / name for name in ("runs", "out", "again"))
    run = _write_run(runs)
    _write_run(runs, "lenet5_conv70", target_sparsity=0.7)
    assert main([str(runs), "--out", str(out), "--collect", "--no-plots"]) == 0
    assert _names(out) == [
        "headline.md",
        "layers.md",
        "lenet5_conv50-seed0.json",
        "lenet5_conv70-seed0.json",
        "results.csv",
        "results.md",
    ]
    copy = out / "lenet5_conv50-seed0.json"
    assert copy.read_bytes() == (run / "summary.json").read_bytes()
    assert read_summary(copy) == _summary()
    (out / "vgg16_bn.json").write_text('{"bytes": 1}')  # evidence of another kind
    # The run folders beside their copies count once.
    assert main([str(out), str(runs), "--out", str(again), "--no-plots"]) == 0
    for name in ("results.md", "headline.md", "results.csv", "layers.md"):
        assert (again / name).read_bytes() == (out / name).read_bytes()


def test_a_file_may_have_any_name(tmp_path):
    write_summary(tmp_path / "mine.json", _summary())
    assert main([str(tmp_path / "mine.json"), "--out", str(tmp_path / "out"), "--no-plots"]) == 0
    assert "lenet5_conv50" in (tmp_path / "out" / "results.md").read_text()


def test_plots_carry_the_networks_name_only_where_there_are_several(tmp_path):
    for network, dataset in (("lenet5", "mnist"), ("alexnet", "cifar10")):
        _write_run(tmp_path / "runs", network, network=network, dataset=dataset)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    plots = [name for name in _names(tmp_path / "out") if name.endswith(".png")]
    assert plots == [
        f"{network}-{plot}.png"
        for network in ("alexnet", "lenet5")
        for plot in ("accuracy", "layers", "retraining")
    ]


def test_plots_carry_the_data_set_where_one_network_has_several(tmp_path):
    for dataset in ("mnist", "digits"):
        _write_run(tmp_path / "runs", dataset, dataset=dataset)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert "lenet5-digits-layers.png" in _names(tmp_path / "out")


def test_a_network_without_pruned_runs_has_tables_only(tmp_path):
    _write_run(tmp_path / "runs", "dense", group="dense", target_sparsity=0)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    names = ["headline.md", "layers.md", "results.csv", "results.md"]
    assert _names(tmp_path / "out") == names


def _fails(capsys, arguments, status):
    assert main([str(argument) for argument in arguments]) == status
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("tfprune: error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: DIR_OR_FILE, --out"),
        (["runs"], "required: --out"),
        (["runs", "--out", "x", "--plots"], "unrecognized arguments: --plots"),
        (["no/such/folder", "--out", "x"], "there is no file or folder 'no/such/folder'"),
    ],
)
def test_usage_errors_are_one_line_and_status_2(capsys, arguments, said):
    assert said in _fails(capsys, arguments, 2)


def test_out_that_is_a_file_is_a_usage_error(tmp_path, capsys):
    _write_run(tmp_path)
    (tmp_path / "out").write_text("")
    assert "--out must be a folder" in _fails(capsys, [tmp_path, "--out", tmp_path / "out"], 2)


def test_a_folder_without_summaries_is_an_error(tmp_path, capsys):
    line = _fails(capsys, [tmp_path, "--out", tmp_path / "out"], 1)
    assert "no summary.json" in line
    assert str(tmp_path) in line
    assert not (tmp_path / "out").exists()


def test_a_truncated_summary_is_named_and_nothing_is_written(tmp_path, capsys):
    run = _write_run(tmp_path / "runs")
    (run / "summary.json").write_text('{"schema": 1,')
    line = _fails(capsys, [tmp_path / "runs", "--out", tmp_path / "out"], 1)
    assert str(run / "summary.json") in line
    assert not (tmp_path / "out").exists()


def test_two_different_summaries_of_one_run_are_refused(tmp_path, capsys):
    first = _write_run(tmp_path / "a")
    second = _write_run(tmp_path / "b", final_accuracy=0.5)
    line = _fails(capsys, [tmp_path, "--out", tmp_path / "out"], 1)
    assert str(first) in line
    assert str(second) in line


def test_seeds_with_different_settings_are_refused_before_anything_is_written(tmp_path, capsys):
    _write_run(tmp_path / "runs")
    _write_run(tmp_path / "runs", seed=1, batch_size=64)
    arguments = [tmp_path / "runs", "--out", tmp_path / "out", "--collect"]
    assert "differ in batch_size" in _fails(capsys, arguments, 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("lenet5_conv50", {"target_sparsity": 0.7}, "two different runs would both be"),
        ("../lenet5", {}, "a run's name must be a file name"),
    ],
)
def test_runs_that_cannot_be_collected_are_refused(tmp_path, capsys, name, changes, said):
    _write_run(tmp_path / "runs")
    write_summary(tmp_path / "runs" / "other-seed0.json", _summary(name, **changes))
    arguments = [tmp_path / "runs", "--out", tmp_path / "out", "--collect"]
    assert said in _fails(capsys, arguments, 1)
    assert not (tmp_path / "out").exists()


def _python(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_importing_the_report_imports_neither_tensorflow_nor_matplotlib():
    code = "import tfprune.report, sys; print([m for m in sys.modules if m in {}])"
    heavy = {"tensorflow", "keras", "tf_keras", "matplotlib", "PIL"}
    result = _python(code.format(heavy))
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


def test_the_command_line_answers_help_and_errors():
    command = [sys.executable, "-m", "tfprune.report"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0
    assert "--collect" in shown.stdout
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith("tfprune: error: ")


def test_a_run_that_is_not_finished_is_reported_and_not_collected(tmp_path):
    _write_run(tmp_path / "runs")
    _write_run(tmp_path / "runs", seed=1, status="interrupted", final_accuracy=None)
    out = tmp_path / "out"
    arguments = [str(tmp_path / "runs"), "--out", str(out), "--collect", "--no-plots"]
    assert main(arguments) == 0
    assert [path.name for path in out.glob("*-seed*.json")] == ["lenet5_conv50-seed0.json"]
