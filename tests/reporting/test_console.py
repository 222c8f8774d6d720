import pytest

from tfprune.reporting.console import console_row
from tfprune.reporting.ledger import KernelContent, LayerContent, ledger
from tfprune.reporting.summary import empty_summary

EXPORTS = {
    "tflite": {"bytes": 1234567, "zipped_bytes": 1000, "accuracy": 0.9894, "latency_ms": 0.0712},
    "keras": {"bytes": 2000, "zipped_bytes": None, "accuracy": None, "latency_ms": None},
}


def test_console_row_shows_layers_accuracies_files_audit_and_the_table_row(run_of):
    """128 of 150 weights stay: 150 H(128 / 150) = 90.1 bits, 12 bytes, say where."""
    content = LayerContent("conv1", (KernelContent(150, 128),), biases=6)
    cost = {"wall_seconds": 3754.4, "peak_memory_bytes": 2_310_000_000}
    run = run_of(exports=EXPORTS, ledger=ledger([content], EXPORTS), **cost)
    assert console_row(run).splitlines() == [
        "lenet5_conv50 (seed 0): lenet5 on mnist, conv layers, target sparsity 50.00 %",
        "",
        "layer  shape       kept      of  sparsity",
        "conv1  5x5x1x6      128     150   14.67 %",
        "conv2  5x5x6x16   1,147   2,400   52.21 %",
        "fc1    256x120   30,720  30,720     dense",
        "all              31,995  33,270    3.83 %",
        "",
        "accuracy on the whole test set",
        "  dense         99.00 %  before pruning",
        "  control       99.10 %  not pruned, the same extra epochs",
        "  first test    98.50 %  pruned, before retraining",
        "  first epoch   98.80 %  after one epoch of retraining",
        "  final         98.95 %  after the last epoch: the headline",
        "  best epoch    99.00 %  epoch 2, chosen on the test set",
        "",
        "bytes by part, without entropy coding",
        "  layer  dense float32  kept weights  indices  biases  all  ratio",
        "  conv1            624           512       12      24  548   1.1x",
        "  all              624           512       12      24  548   1.1x",
        "",
        "files (zipped: deflate, level 6; latency: of one image on one thread)",
        "  ratios: to dense float32, all variables: 624 bytes",
        "  file        bytes  ratio  zipped bytes  ratio  accuracy   latency",
        "  tflite  1,234,567   0.0x         1,000   0.6x   98.94 %  0.071 ms",
        "  keras       2,000   0.3x             –      –         –         –",
        "",
        "took 1:02:34, at most 2.31 GB of memory",
        "",
        "audit of the zeros: ok (pruned, tflite)",
        "",
        "name          | group | target | group sparsity | dense | control | first test "
        "| first epoch | final | final - control",
        "lenet5_conv50 | conv  |  50.00 |          50.00 | 99.00 |   99.10 |      98.50 "
        "|       98.80 | 98.95 |           -0.15",
    ]


def test_console_row_of_a_run_that_measured_nothing(run_of):
    keys = ("status", "name", "network", "dataset", "group", "target_sparsity", "seed")
    identity = {key: run_of()[key] for key in keys}
    text = console_row(empty_summary() | identity | {"status": "dry run"})
    assert text.splitlines()[:-2] == [
        "lenet5_conv50 (seed 0): lenet5 on mnist, conv layers, target sparsity 50.00 % - dry run",
        "",
        "accuracy on the whole test set",
        "  not measured",
        "",
        "audit of the zeros: none",
        "",
    ]
    cells = [cell.strip() for cell in text.splitlines()[-1].split("|")]
    assert cells == ["lenet5_conv50", "conv", "50.00", *["–"] * 7]


def test_console_row_of_a_baseline_ends_with_its_headline(baseline_of):
    text = console_row(baseline_of())
    assert text.startswith("lenet5_dense (seed 0): lenet5 on mnist\n")
    cells = [cell.strip() for cell in text.splitlines()[-1].split("|")]
    assert cells[:3] == ["lenet5_dense", "dense", "0.00"]
    assert cells[4:] == ["99.00", "–", "–", "–", "99.00", "–"]


def test_console_row_without_a_ledger_has_no_ratios(run_of):
    lines = console_row(run_of()).splitlines()
    place = lines.index("files (zipped: deflate, level 6; latency: of one image on one thread)")
    assert lines[place + 1 : place + 4] == [
        "  file    bytes  ratio  zipped bytes  ratio  accuracy  latency",
        "  tflite  1,000      –             –      –   98.94 %        –",
        "  keras   2,000      –             –      –         –        –",
    ]


@pytest.mark.parametrize("exports", [None, {}])
def test_console_row_without_files_has_no_table_of_them(run_of, exports):
    assert "bytes" not in console_row(run_of(exports=exports))


def test_console_row_names_the_stage_whose_audit_failed(run_of):
    text = console_row(run_of(audit={"pruned": "ok", "tflite": "failed"}))
    assert "\naudit of the zeros: tflite: failed\n" in text
