import csv
import io
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.errors import TfpruneError
from tfprune.reporting.summary import empty_summary
from tfprune.reporting.tables import (
    Spread,
    audit_verdict,
    console_row,
    epochs_done,
    layer_rows,
    layers_markdown,
    result_rows,
    results_csv,
    results_markdown,
    sections,
    weights,
)


def _history(*accuracies):
    return [
        {
            "epoch": number,
            "loss": 0.1,
            "train_accuracy": 0.99,
            "test_accuracy": accuracy,
            "learning_rate": 1e-3,
            "seconds": 7.0,
        }
        for number, accuracy in enumerate(accuracies, 1)
    ]


def _layer(name, shape, size, kept, *, pruned=True):
    return {
        "name": name,
        "kind": "conv",
        "shape": shape,
        "size": size,
        "kept": kept,
        "sparsity": 1 - kept / size,
        "threshold": 0.03 if pruned else None,
        "pruned": pruned,
    }


def _run(seed=0, **changes):
    """LeNet-5 conv 50 %, with the published counts of weights: 22 of 150 and 1253 of 2400."""
    summary = empty_summary() | {
        "status": "complete",
        "name": "lenet5_conv50",
        "network": "lenet5",
        "dataset": "mnist",
        "group": "conv",
        "allocation": "global",
        "criterion": "magnitude",
        "schedule": "one_shot",
        "target_sparsity": 0.5,
        "group_sparsity": 0.5,
        "model_sparsity": 0.0288,
        "dense_accuracy": 0.99,
        "control_accuracy": 0.991,
        "first_test_accuracy": 0.985,
        "first_epoch_accuracy": 0.988,
        "final_accuracy": 0.9895,
        "best_accuracy": 0.9900,
        "best_epoch": 2,
        "epochs": 20,
        "retrain_epochs": 3,
        "learning_rate": 1e-3,
        "lr_decay": "none",
        "batch_size": 128,
        "optimizer": "adam",
        "seed": seed,
        "dense_history": _history(*[0.99] * 20),
        "history": _history(0.988, 0.99, 0.9895),
        "layers": [
            _layer("conv1", [5, 5, 1, 6], 150, 128),
            _layer("conv2", [5, 5, 6, 16], 2400, 1147),
            _layer("fc1", [256, 120], 30720, 30720, pruned=False),
        ],
        "exports": {"tflite": {"bytes": 1000, "accuracy": 0.9894}, "keras": {"bytes": 2000}},
        "audit": {"pruned": "ok", "tflite": "ok"},
    }
    return summary | changes


def _baseline(seed=0):
    nothing = dict.fromkeys(
        ["control_accuracy", "first_test_accuracy", "first_epoch_accuracy", "audit", "exports"]
    )
    return _run(seed, **nothing) | {
        "name": "lenet5_dense",
        "group": "dense",
        "target_sparsity": 0,
        "final_accuracy": None,
    }


def _cells(markdown, start, table=0):
    """The cells of the row that starts with `start`, in the table of that index."""
    rows = [line for line in markdown.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in rows[table].strip("|").split("|")]


# -- spreads -------------------------------------------------------------------------------


def test_spread_of_three_seeds():
    spread = Spread.of([0.25, None, 0.75, 0.5])
    assert spread == Spread(mean=0.5, low=0.25, high=0.75, count=3)


def test_spread_of_nothing_is_none():
    assert Spread.of([None, None]) is None


@given(st.lists(st.floats(0, 1), min_size=1))
def test_mean_lies_between_smallest_and_largest(values):
    spread = Spread.of(values)
    assert spread.low - 1e-12 <= spread.mean <= spread.high + 1e-12
    assert spread.count == len(values)


@given(st.floats(0, 1), st.integers(1, 9))
def test_equal_values_have_exactly_their_mean(value, count):
    assert Spread.of([value] * count) == Spread(value, value, value, count)


# -- rows ----------------------------------------------------------------------------------


def test_seeds_of_one_configuration_share_a_row():
    rows = [row for row in result_rows([_run(2), _run(0), _run(1)]) if row.runs]
    assert len(rows) == 1
    assert [run["seed"] for run in rows[0].runs] == [0, 1, 2]
    assert rows[0].published.accuracy == 0.9898


def test_every_published_configuration_of_the_network_has_a_row():
    rows = result_rows([_run()])
    places = [(row.group, row.target, row.status) for row in rows]
    assert places == [
        ("dense", 0.0, "not run"),
        ("conv", 0.5, "complete"),
        ("conv", 0.7, "not run"),
        ("conv", 0.9, "not run"),
        ("fc", 0.5, "not run"),
        ("fc", 0.7, "not run"),
        ("fc", 0.9, "not run"),
    ]


def test_runs_with_the_published_settings_are_rows_of_their_own_after_ours():
    rows = result_rows([_run(name="published_lenet5_conv50", epochs=185), _run()])
    names = [row.name for row in rows if row.runs]
    assert names == ["lenet5_conv50", "published_lenet5_conv50"]


def test_published_results_of_another_data_set_stand_beside_nothing():
    (row,) = result_rows([_run(dataset="digits")])
    assert row.published is None


def test_an_incomplete_run_is_in_no_mean_and_is_labelled():
    runs = [
        _run(0),
        _run(1, status="interrupted", final_accuracy=None, history=_history(0.1, 0.2)),
    ]
    complete, interrupted = [row for row in result_rows(runs) if row.runs]
    assert complete.spread(lambda run: run["dense_accuracy"]).count == 1
    assert interrupted.status == "interrupted"
    text = results_markdown([complete, interrupted])
    label = "seed 1, **interrupted** after 20 + 2 of 20 + 3 epochs"
    assert text.count(label) == 3  # in each of the three tables
    assert layers_markdown([interrupted]).count("conv1") == 0


def test_a_run_that_was_killed_before_its_first_history_says_so():
    run = _run(1, status="running", dense_history=None, history=None)
    text = results_markdown(result_rows([run]))
    assert "seed 1, **running** after – of 20 + 3 epochs" in text


def test_seeds_with_different_settings_are_refused():
    with pytest.raises(TfpruneError, match=r"differ in retrain_epochs.* 3 \(seed 0\), 5 \(seed 1"):
        result_rows([_run(0), _run(1, retrain_epochs=5)])


def test_sections_come_in_the_published_order_and_others_after():
    runs = [
        _run(network=name, dataset=dataset)
        for name, dataset in (("mine", ""), ("vgg16_bn", "cifar10"), ("lenet5", "mnist"))
    ]
    assert [network for network, _ in sections(result_rows(runs))] == ["lenet5", "vgg16_bn", "mine"]
    assert "### mine on its data" in results_markdown(result_rows(runs))


@given(st.randoms())
def test_output_does_not_depend_on_the_order_of_the_runs(shuffler: random.Random):
    runs = [_run(seed, name=name) for seed, name in itertools.product(range(3), ("a", "b"))]
    runs.append(_run(3, name="a", status="running"))
    shuffled = list(runs)
    shuffler.shuffle(shuffled)
    for write in (results_markdown, results_csv, layers_markdown):
        assert write(result_rows(shuffled)) == write(result_rows(runs))


# -- the results in Markdown ---------------------------------------------------------------


def test_accuracies_are_mean_and_range_in_percent():
    runs = [
        _run(0, final_accuracy=0.98, control_accuracy=0.99, best_epoch=3),
        _run(1, final_accuracy=0.99, control_accuracy=0.98, best_epoch=1),
    ]
    cells = _cells(results_markdown(result_rows(runs)), "lenet5_conv50")
    assert cells[:4] == ["lenet5_conv50", "conv", "50.00", "2 seeds"]
    assert cells[4:8] == ["99.00", "98.50 (98.00..99.00)", "98.50", "98.80"]
    assert cells[8:] == [
        "**98.50 (98.00..99.00)**",
        "99.00 at 3, 1",
        "+0.00 (-1.00..+1.00)",
    ]


def test_one_seed_is_labelled_so_and_missing_values_are_dashes():
    run = _run(control_accuracy=None, best_accuracy=None, best_epoch=None)
    cells = _cells(results_markdown(result_rows([run])), "lenet5_conv50")
    assert cells[3] == "1 seed"
    assert [cells[5], cells[9], cells[10]] == ["–", "–", "–"]


def test_a_mean_over_fewer_seeds_than_the_row_has_says_so():
    runs = [_run(0), _run(1, first_test_accuracy=None), _run(2)]
    cells = _cells(results_markdown(result_rows(runs)), "lenet5_conv50")
    assert cells[6] == "98.50 [2 of 3 seeds]"


def test_published_figures_stand_beside_ours_with_the_difference():
    """lenet5, conv 0.5: 0.9861, 0.9883 and 0.9898 after 154 epochs (published_results.csv)."""
    cells = _cells(results_markdown(result_rows([_run()])), "lenet5_conv50", table=1)
    assert cells[4:7] == ["98.50", "98.61", "-0.11"]
    assert cells[7:10] == ["98.80", "98.83", "-0.03"]
    assert cells[10:13] == ["98.95", "98.98", "-0.03"]
    assert cells[13:15] == ["20 + 3", "154"]


def test_a_published_configuration_without_a_run_says_not_run():
    text = results_markdown(result_rows([_run()]))
    assert "| – | fc | 90.00 | not run | – | 89.73 | – | – | 97.67 | – | – | 98.65 |" in text


def test_size_table():
    """Kept: 128 + 1147 + 30720 = 31995 of 150 + 2400 + 30720 = 33270."""
    cells = _cells(results_markdown(result_rows([_run()])), "lenet5_conv50", table=2)
    assert cells[4:] == ["50.00", "2.88", "31,995 / 33,270", "20 + 3", "98.94", "ok"]


def test_counts_that_differ_between_seeds_show_their_range():
    runs = [_run(0), _run(1, layers=[_layer("conv1", [5, 5, 1, 6], 33270, 31993)])]
    cells = _cells(results_markdown(result_rows(runs)), "lenet5_conv50", table=2)
    assert cells[6] == "31,994 (31,993..31,995) / 33,270"


def test_headline_of_a_baseline_is_the_end_of_its_training():
    rows = result_rows([_baseline()])
    cells = _cells(results_markdown(rows), "lenet5_dense")
    assert cells[8] == "**99.00**"
    assert _cells(results_markdown(rows), "lenet5_dense", table=1)[10:14] == [
        "99.00",
        "99.02",
        "-0.02",
        "20",
    ]


def test_a_bar_in_a_name_does_not_break_the_table():
    text = results_markdown(result_rows([_run(name="a|b", dataset="digits")]))
    assert "| a/b |" in text


@pytest.mark.parametrize(
    ("audit", "verdict"),
    [
        (None, None),
        ({"pruned": "ok", "tflite": "ok"}, "ok"),
        ({"pruned": "ok", "tflite": "failed"}, "tflite: failed"),
        ({"pruned": "unverified"}, "pruned: unverified"),
    ],
)
def test_audit_is_ok_only_if_every_stage_is(audit, verdict):
    assert audit_verdict(_run(audit=audit)) == verdict


def test_one_seed_that_failed_its_audit_shows_in_the_row():
    runs = [_run(0), _run(1, audit={"pruned": "failed"}), _run(2, audit=None)]
    cells = _cells(results_markdown(result_rows(runs)), "lenet5_conv50", table=2)
    assert cells[-1] == "no audit; ok; pruned: failed"


@pytest.mark.parametrize(
    ("changes", "done"),
    [
        ({}, (20, 3)),
        ({"group": "dense"}, (20, None)),
        ({"dense_history": None, "history": None}, (20, 3)),
        ({"status": "running", "history": None}, (20, None)),
        ({"status": "running", "dense_history": None, "history": None}, (None, None)),
    ],
)
def test_epochs_that_took_place(changes, done):
    assert epochs_done(_run(**changes)) == done


def test_weights_of_a_run_without_layers_are_unknown():
    assert weights(_run(layers=None)) is None
    assert "– | 20 + 3" in results_markdown(result_rows([_run(layers=None)]))


# -- the results in CSV --------------------------------------------------------------------


def test_csv_has_a_line_a_seed_in_full_precision():
    third = 1 / 3
    lines = list(csv.DictReader(io.StringIO(results_csv(result_rows([_run(0), _run(1)])))))
    ours = [line for line in lines if line["status"] == "complete"]
    assert [line["seed"] for line in ours] == ["0", "1"]
    run = _run(final_accuracy=third)
    line = next(
        line
        for line in csv.DictReader(io.StringIO(results_csv(result_rows([run]))))
        if line["name"]
    )
    assert float(line["final_accuracy"]) == third
    assert float(line["final_minus_control"]) == third - 0.991
    assert (line["dense_epochs"], line["retrain_epochs"]) == ("20", "3")
    assert (line["weights_kept"], line["weights_total"]) == ("31995", "33270")
    assert line["published_accuracy"] == "0.9898"
    assert line["audit"] == "ok"


def test_csv_lists_published_results_that_were_not_run():
    lines = list(csv.DictReader(io.StringIO(results_csv(result_rows([_run()])))))
    assert len(lines) == 7
    missing = lines[-1]
    assert (missing["status"], missing["name"], missing["seed"]) == ("not run", "", "")
    assert missing["published_first_test_accuracy"] == "0.8973"


def test_no_rows_give_an_empty_csv():
    assert results_csv([]) == ""


# -- the layers ----------------------------------------------------------------------------


def test_layers_stand_beside_the_published_ones():
    """22 / 150 = 14.67 % and 1253 / 2400 = 52.21 %, as published."""
    text = layers_markdown(result_rows([_run(0), _run(1)]))
    assert "**lenet5_conv50: conv at 50.00 %** (2 seeds)" in text
    assert _cells(text, "conv1") == [
        "conv1", "5x5x1x6", "150", "128", "14.67", "14.67", "+0.00",
    ]  # fmt: skip
    assert _cells(text, "conv2")[3:] == ["1,147", "52.21", "52.21", "+0.00"]
    assert "**not run: fc at 90.00 %**" in text


def test_layers_that_stay_dense_are_listed_only_where_something_is_published():
    row = next(row for row in result_rows([_run()]) if row.runs)
    assert [layer.name for layer in layer_rows(row)] == ["conv1", "conv2"]


def test_published_layers_that_a_run_lacks_are_listed():
    run = _run(layers=[_layer("conv1", [5, 5, 1, 6], 150, 128)])
    row = next(row for row in result_rows([run]) if row.runs)
    found = {layer.name: layer for layer in layer_rows(row)}
    assert found["conv2"].sparsity is None
    assert found["conv2"].published == 0.5221


def test_layers_show_the_range_over_the_seeds():
    other = [_layer("conv1", [5, 5, 1, 6], 150, 120)]
    cells = _cells(layers_markdown(result_rows([_run(0), _run(1, layers=other)])), "conv1")
    assert cells[3:5] == ["124 (120..128)", "17.33 (14.67..20.00)"]


# -- the console ---------------------------------------------------------------------------


def test_console_row_shows_layers_accuracies_files_and_audit():
    assert console_row(_run()).splitlines() == [
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
        "file tflite: 1,000 bytes, accuracy 98.94 %",
        "file keras: 2,000 bytes",
        "audit of the zeros: ok (pruned, tflite)",
    ]


def test_console_row_of_a_run_that_measured_nothing():
    identity = {
        key: _run()[key]
        for key in ("status", "name", "network", "dataset", "group", "target_sparsity", "seed")
    }
    text = console_row(empty_summary() | identity | {"status": "dry run"})
    assert text.splitlines() == [
        "lenet5_conv50 (seed 0): lenet5 on mnist, conv layers, target sparsity 50.00 % - dry run",
        "",
        "accuracy on the whole test set",
        "  not measured",
        "audit of the zeros: none",
    ]


def test_console_row_names_the_stage_whose_audit_failed():
    text = console_row(_run(audit={"pruned": "ok", "tflite": "failed"}))
    assert text.endswith("audit of the zeros: tflite: failed")
