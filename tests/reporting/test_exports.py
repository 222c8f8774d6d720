"""The table of what pruning buys, from made-up runs with figures that are easy to check."""

import struct

import pytest

from tfprune.reporting.bytes_plot import bytes_plot
from tfprune.reporting.exports import exports_markdown, file_label
from tfprune.reporting.gains import gains_markdown
from tfprune.reporting.ledger import KernelContent, LayerContent, ledger
from tfprune.reporting.rows import result_rows

CONTENTS = [LayerContent("conv1", (KernelContent(1000, 100),), biases=25)]  # 4,100 bytes dense


def _file(size, accuracy, latency=None):
    figures = {"bytes": size, "zipped_bytes": size // 2, "accuracy": accuracy}
    return figures | {"latency_ms": latency, "zeros": 0, "max_abs_difference": 0.0}


def _exports(speed=1.0):
    return {
        "keras": _file(8200, 0.98),
        "dense_tflite": _file(4100, 0.98, 1.0),
        "tflite": _file(4100, 0.98, 1.0),
        "shrunk_tflite": _file(1025, 0.98, 0.5),
        "shrunk_tflite_int8": _file(410, 0.975, 0.25 / speed),
    }


def _run_with_ledger(run_of, seed=0, **changes):
    exports = _exports(changes.pop("speed", 1.0))
    shrunk = {"parameters": [1025, 250], "macs": None, "units": {"conv1": [25, 5]}}
    found = {"exports": exports, "ledger": ledger(CONTENTS, exports), "shrunk": shrunk}
    return run_of(seed, control_accuracy=0.98, **found, **changes)


def test_files_are_compared_with_the_dense_network_of_the_same_run(run_of):
    table = exports_markdown(result_rows([_run_with_ledger(run_of)])).splitlines()
    name = "| lenet5_conv50 | 1 |"
    assert [line for line in table if line.startswith(name)] == [
        f"{name} TFLite float32, not pruned | 4,100 (1.0x) | 2,050 (2.0x) | 98.00 | +0.00 "
        "| 1.000 | 1.0x |",
        f"{name} .keras | 8,200 (0.5x) | 4,100 (1.0x) | 98.00 | +0.00 | – | – |",
        f"{name} TFLite float32 | 4,100 (1.0x) | 2,050 (2.0x) | 98.00 | +0.00 | 1.000 | 1.0x |",
        f"{name} TFLite float32, shrunk | 1,025 (4.0x) | 512 (8.0x) | 98.00 | +0.00 "
        "| 0.500 | 2.0x |",
        f"{name} TFLite full int8, shrunk | 410 (10.0x) | 205 (20.0x) | 97.50 | -0.50 "
        "| 0.250 | 4.0x |",
        # 1000 H(1/10) = 469 bits, 59 bytes, say where the 100 kept weights are.
        f"{name} 4,100 | 400 | 59 | 100 | 559 | 7.3x |",
    ]
    assert "| lenet5_conv50 | 0 | 25 | 5 | 1,025 | 250 | – | – | conv1 25 → 5 |" in table


def test_seeds_are_averaged_speed_by_speed_and_runs_without_a_ledger_are_left_out(run_of):
    runs = [_run_with_ledger(run_of, seed, speed=speed) for seed, speed in ((0, 1.0), (1, 2.0))]
    table = exports_markdown(result_rows([*runs, run_of(2)]))
    line = next(line for line in table.splitlines() if "full int8" in line)
    assert line.startswith("| lenet5_conv50 | 2 |") and line.endswith("| 0.188 | 6.0x |")


def test_the_gains_are_those_of_the_best_files(run_of):
    runs = [_run_with_ledger(run_of, seed, speed=speed) for seed, speed in ((0, 1.0), (1, 2.0))]
    table = gains_markdown(result_rows(runs)).splitlines()
    best = "TFLite full int8, shrunk"
    assert [line for line in table if line.startswith("| lenet5_conv50")] == [
        f"| lenet5_conv50 | 2 | 2.88 | {best} | 410 (10.0x) | -0.50 | {best} | 205 (20.0x) | -0.50 "
        f"| {best} | 6.0x | -0.50 |"
    ]
    # With small files of a network whose int8 is slower than its float32, as LeNet-5's is.
    slow = _exports() | {"shrunk_tflite_int8": _file(410, 0.975, 2.0), "tfprune": _file(99, 0.97)}
    run = run_of(exports=slow, ledger=ledger(CONTENTS, slow), control_accuracy=0.98)
    line = gains_markdown(result_rows([run])).splitlines()[4]
    assert line.endswith(
        "| .tfprune | 99 (41.4x) | -1.00 | .tfprune | 49 (83.7x) | -1.00 "
        "| TFLite float32, shrunk | 2.0x | +0.00 |"
    )


def test_files_that_are_not_timed_are_not_fastest(run_of):
    exports = {"keras": _file(8200, 0.98)}
    run = run_of(exports=exports, ledger=ledger(CONTENTS, exports), control_accuracy=0.98)
    line = gains_markdown(result_rows([run])).splitlines()[4]
    assert line.endswith("| .keras | 4,100 (1.0x) | +0.00 | – | – | – |")
    assert gains_markdown(result_rows([_run_with_ledger(run_of) | {"exports": None}])) is None


def test_without_files_there_is_the_ledger_alone(run_of):
    table = exports_markdown(result_rows([_run_with_ledger(run_of) | {"exports": None}]))
    assert "| run | seeds | file |" not in table
    assert "| lenet5_conv50 | 1 | 4,100 | 400 | 59 | 100 | 559 | 7.3x |" in table


def test_without_a_ledger_there_is_nothing(run_of):
    rows = result_rows([run_of()])
    assert exports_markdown(rows) is None and bytes_plot(rows) is None


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("tflite", "TFLite float32"),
        ("tflite_sparse", "TFLite float32, sparse encoding"),
        ("shrunk_tflite_sparse_float16", "TFLite float16, sparse encoding, shrunk"),
        ("tflite_qat", "TFLite full int8, trained for it"),
        ("shrunk_keras", ".keras, shrunk"),
        ("tfprune", ".tfprune"),
    ],
)
def test_labels_of_files(kind, label):
    assert file_label(kind) == label


def test_the_plot_is_a_png_of_readme_width_and_the_same_each_time(run_of):
    rows = result_rows([_run_with_ledger(run_of), _run_with_ledger(run_of, name="other")])
    drawn = bytes_plot(rows)
    assert drawn == bytes_plot(rows)
    assert struct.unpack(">II", drawn[16:24])[0] == 960
