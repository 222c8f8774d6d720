import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.errors import TfpruneError
from tfprune.reporting.rows import (
    Spread,
    audit_verdict,
    epochs_done,
    layer_rows,
    result_rows,
    sections,
    weights,
)


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


def test_seeds_of_one_configuration_share_a_row(run_of):
    rows = [row for row in result_rows([run_of(2), run_of(0), run_of(1)]) if row.runs]
    assert len(rows) == 1
    assert [run["seed"] for run in rows[0].runs] == [0, 1, 2]
    assert rows[0].published.accuracy == 0.9898


def test_every_published_configuration_of_the_network_has_a_row(run_of):
    rows = result_rows([run_of()])
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


def test_an_experiment_without_published_counterpart_lists_no_published_rows(run_of):
    (row,) = result_rows([run_of(group="all", target_sparsity=0.9)])
    assert row.published is None and row.group == "all"


def test_runs_with_the_published_settings_are_rows_of_their_own_after_ours(run_of):
    rows = result_rows([run_of(name="published_lenet5_conv50", epochs=185), run_of()])
    found = [(row.name, row.has_published_settings) for row in rows if row.runs]
    assert found == [("lenet5_conv50", False), ("published_lenet5_conv50", True)]
    assert not any(row.has_published_settings for row in rows if not row.runs)


def test_published_results_of_another_data_set_stand_beside_nothing(run_of):
    (row,) = result_rows([run_of(dataset="digits")])
    assert row.published is None


def test_an_incomplete_run_is_in_no_mean(run_of):
    runs = [run_of(0), run_of(1, status="interrupted", final_accuracy=None)]
    complete, interrupted = [row for row in result_rows(runs) if row.runs]
    assert complete.spread(lambda run: run["dense_accuracy"]).count == 1
    assert interrupted.status == "interrupted"
    assert [run["seed"] for run in interrupted.runs] == [1]


def test_seeds_with_different_settings_are_refused(run_of):
    with pytest.raises(TfpruneError, match=r"differ in retrain_epochs.* 3 \(seed 0\), 5 \(seed 1"):
        result_rows([run_of(0), run_of(1, retrain_epochs=5)])


def test_sections_come_in_the_published_order_and_others_after(run_of):
    runs = [
        run_of(network=name, dataset=dataset)
        for name, dataset in (("mine", ""), ("vgg16_bn", "cifar10"), ("lenet5", "mnist"))
    ]
    assert [network for network, _ in sections(result_rows(runs))] == ["lenet5", "vgg16_bn", "mine"]


@pytest.mark.parametrize(
    ("audit", "verdict"),
    [
        (None, None),
        ({"pruned": "ok", "tflite": "ok"}, "ok"),
        ({"pruned": "ok", "tflite": "failed"}, "tflite: failed"),
        ({"pruned": "unverified"}, "pruned: unverified"),
    ],
)
def test_audit_is_ok_only_if_every_stage_is(run_of, audit, verdict):
    assert audit_verdict(run_of(audit=audit)) == verdict


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
def test_epochs_that_took_place(run_of, changes, done):
    assert epochs_done(run_of(**changes)) == done


def test_weights_of_a_run_without_layers_are_unknown(run_of):
    assert weights(run_of(layers=None)) is None


def test_layers_that_stay_dense_are_listed_only_where_something_is_published(run_of):
    row = next(row for row in result_rows([run_of()]) if row.runs)
    assert [layer.name for layer in layer_rows(row)] == ["conv1", "conv2"]


def test_published_layers_that_a_run_lacks_are_listed(layer_of, run_of):
    run = run_of(layers=[layer_of("conv1", [5, 5, 1, 6], 150, 128)])
    row = next(row for row in result_rows([run]) if row.runs)
    found = {layer.name: layer for layer in layer_rows(row)}
    assert found["conv2"].sparsity is None
    assert found["conv2"].published == 0.5221
    assert (found["conv2"].shape, found["conv2"].size) == ("", None)
