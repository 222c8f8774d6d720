import struct

import pytest

from tfprune.reporting.plots import (
    _reached,
    accuracy_plot,
    layers_plot,
    retraining_plot,
    series_of,
)
from tfprune.reporting.rows import result_rows
from tfprune.reporting.summary import empty_summary

PLOTS = (accuracy_plot, layers_plot, retraining_plot)


def _run(target=0.5, seed=0, **changes):
    def history(start):
        return [{"epoch": n, "test_accuracy": start + 0.001 * (n + seed)} for n in range(1, 6)]

    sizes = {"conv1": 150, "conv2": 2400}
    layers = [
        {"name": name, "shape": [5, 5, 1, 6], "size": size, "pruned": True}
        | {"kept": round(size * (1 - target)) + seed, "sparsity": target - 0.01 * seed}
        for name, size in sizes.items()
    ]
    return (
        empty_summary()
        | {"status": "complete", "network": "lenet5", "dataset": "mnist", "group": "conv"}
        | {"name": f"lenet5_conv{100 * target:.0f}", "target_sparsity": target, "seed": seed}
        | {"allocation": "global", "criterion": "magnitude", "schedule": "one_shot"}
        | {"dense_accuracy": 0.99, "control_accuracy": 0.991, "first_test_accuracy": 0.9}
        | {"final_accuracy": 0.99 - 0.01 * target + 0.001 * seed, "layers": layers}
        | {"history": history(0.97), "control_history": history(0.985)}
        | changes
    )


def _rows(*runs):
    return result_rows(runs)


def _size(png):
    """(width, height) in pixels, from the header of the PNG file format."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


def _many():
    runs = [_run(target, seed) for target in (0.5, 0.7, 0.9) for seed in range(3)]
    runs += [_run(0.9, seed, name="uniform", allocation="uniform") for seed in range(3)]
    return [*runs, _run(0.9, group="fc", name="lenet5_fc90")]


@pytest.mark.parametrize("plot", PLOTS)
def test_plots_are_small_pngs_of_readme_width_and_the_same_each_time(plot):
    first, second = plot(_rows(*_many())), plot(_rows(*reversed(_many())))
    assert first == second
    assert len(first) < 100_000
    assert _size(first)[0] == 960
    assert b"Software" not in first
    assert b"tIME" not in first


@pytest.mark.parametrize("plot", PLOTS)
def test_a_users_own_matplotlib_settings_change_nothing(plot):
    import matplotlib

    plain = plot(_rows(_run()))
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "axes.facecolor": "red"}):
        assert plot(_rows(_run())) == plain
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize(
    "changes",
    [
        {"status": "interrupted"},
        {"group": "dense", "target_sparsity": 0},
        {"final_accuracy": None, "layers": None, "history": None},
    ],
)
def test_without_a_finished_pruned_run_there_is_no_plot(plot, changes):
    assert plot(_rows(_run(**changes))) is None


@pytest.mark.parametrize("plot", PLOTS)
def test_an_interrupted_run_is_not_drawn(plot):
    stopped = _run(0.5, 1, status="interrupted", final_accuracy=0.1, first_test_accuracy=0.1)
    assert plot(_rows(_run(), stopped)) == plot(_rows(_run()))


def test_each_plot_draws_what_it_is_about():
    rows = _rows(_run())
    assert accuracy_plot(rows) != accuracy_plot(_rows(_run(control_accuracy=0.98)))
    assert accuracy_plot(rows) != accuracy_plot(_rows(_run(first_test_accuracy=0.8)))
    assert retraining_plot(rows) != retraining_plot(_rows(_run(control_history=None)))
    ours_only = _rows(_run(dataset="digits"))
    assert _size(layers_plot(rows)) == _size(layers_plot(ours_only))
    assert layers_plot(rows) != layers_plot(ours_only)


def test_a_point_stands_at_the_sparsity_that_its_runs_reached():
    silent, exact = _rows(_run(0.9)), _rows(_run(0.9, group_sparsity=0.9))
    runs = [_run(0.9, seed, group_sparsity=reached) for seed, reached in ((0, 0.87), (1, 0.89))]
    (row,) = (row for row in _rows(*runs) if row.runs)
    assert _reached(row) == pytest.approx(0.88)
    assert accuracy_plot(silent) == accuracy_plot(exact)
    assert accuracy_plot(_rows(_run(0.9, group_sparsity=0.87))) != accuracy_plot(exact)


def test_an_epoch_that_was_not_tested_moves_no_other():
    def drawn(accuracies):
        history = [{"epoch": n, "test_accuracy": a} for n, a in enumerate(accuracies, 1)]
        return retraining_plot(_rows(_run(history=history, control_history=None)))

    assert drawn([0.9, None, 0.95]) != drawn([0.9, 0.95]) == drawn([0.9, 0.95, None])
    assert drawn([None, None]) is None


def test_a_figure_grows_with_its_panels():
    few, many = layers_plot(_rows(_run())), layers_plot(_rows(*_many()))
    assert _size(many)[1] > _size(few)[1]


@pytest.mark.parametrize("plot", PLOTS)
def test_networks_without_published_results_and_missing_values_are_drawn(plot):
    run = _run(
        network="mine",
        dataset=None,
        dense_accuracy=None,
        control_accuracy=None,
        first_test_accuracy=None,
        control_history=None,
        history=[{"epoch": 1, "test_accuracy": 0.9}],
    )
    assert _size(plot(_rows(run)))[0] > 600


def test_series_name_what_a_row_varies():
    (plain,) = _rows(_run(dataset="digits"))
    assert series_of(plain) == "ours"
    (varied,) = _rows(_run(dataset="digits", allocation="uniform", schedule="gradual"))
    assert series_of(varied) == "ours, uniform, gradual"
    (published,) = _rows(_run(dataset="digits", name="published_lenet5_conv50"))
    assert series_of(published) == "ours, published settings"
