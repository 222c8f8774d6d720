import csv
import io
import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from tfprune.reporting.rows import result_rows
from tfprune.reporting.tables import (
    headline_markdown,
    layers_markdown,
    results_csv,
    results_markdown,
)


def _cells(markdown, start, table=0):
    """The cells of the row that starts with `start`, in the table of that index."""
    rows = [line for line in markdown.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in rows[table].strip("|").split("|")]


def test_an_incomplete_run_is_labelled_with_the_epochs_it_got(history_of, run_of):
    run = run_of(1, status="interrupted", final_accuracy=None, history=history_of(0.1, 0.2))
    rows = [row for row in result_rows([run_of(0), run]) if row.runs]
    label = "seed 1, **interrupted** after 20 + 2 of 20 + 3 epochs"
    assert results_markdown(rows).count(label) == 3  # in each of the three tables
    assert layers_markdown(rows[1:]).count("conv1") == 0


def test_a_run_that_was_killed_before_its_first_history_says_so(run_of):
    run = run_of(1, status="running", dense_history=None, history=None)
    text = results_markdown(result_rows([run]))
    assert "seed 1, **running** after – of 20 + 3 epochs" in text


@given(st.randoms())
def test_output_does_not_depend_on_the_order_of_the_runs(run_of, shuffler: random.Random):
    runs = [run_of(seed, name=name) for seed, name in itertools.product(range(3), ("a", "b"))]
    runs.append(run_of(3, name="a", status="running"))
    shuffled = list(runs)
    shuffler.shuffle(shuffled)
    for write in (results_markdown, headline_markdown, results_csv, layers_markdown):
        assert write(result_rows(shuffled)) == write(result_rows(runs))


def test_accuracies_are_mean_and_range_in_percent(run_of):
    runs = [
        run_of(0, final_accuracy=0.98, control_accuracy=0.99, best_epoch=3),
        run_of(1, final_accuracy=0.99, control_accuracy=0.98, best_epoch=1),
    ]
    cells = _cells(results_markdown(result_rows(runs)), "lenet5_conv50")
    assert cells[:4] == ["lenet5_conv50", "conv", "50.00", "2 seeds"]
    assert cells[4:8] == ["99.00", "98.50 (98.00..99.00)", "98.50", "98.80"]
    assert cells[8:] == [
        "**98.50 (98.00..99.00)**",
        "99.00 at 3, 1",
        "+0.00 (-1.00..+1.00)",
    ]


def test_one_seed_is_labelled_so_and_missing_values_are_dashes(run_of):
    run = run_of(control_accuracy=None, best_accuracy=None, best_epoch=None)
    cells = _cells(results_markdown(result_rows([run])), "lenet5_conv50")
    assert cells[3] == "1 seed"
    assert [cells[5], cells[9], cells[10]] == ["–", "–", "–"]


def test_a_mean_over_fewer_seeds_than_the_row_has_says_so(run_of):
    runs = [run_of(0), run_of(1, first_test_accuracy=None), run_of(2)]
    cells = _cells(results_markdown(result_rows(runs)), "lenet5_conv50")
    assert cells[6] == "98.50 [2 of 3 seeds]"


def test_published_figures_stand_beside_ours_with_the_difference(run_of):
    """lenet5, conv 0.5: 0.9861, 0.9883 and 0.9898 after 154 epochs (published_results.csv)."""
    cells = _cells(results_markdown(result_rows([run_of()])), "lenet5_conv50", table=1)
    assert cells[4:7] == ["98.50", "98.61", "-0.11"]
    assert cells[7:10] == ["98.80", "98.83", "-0.03"]
    assert cells[10:13] == ["98.95", "98.98", "-0.03"]
    assert cells[13:15] == ["20 + 3", "154"]


def test_a_published_configuration_without_a_run_says_not_run(run_of):
    text = results_markdown(result_rows([run_of()]))
    assert "| – | fc | 90.00 | not run | – | 89.73 | – | – | 97.67 | – | – | 98.65 |" in text


def test_size_table(run_of):
    """Kept: 128 + 1147 + 30720 = 31995 of 150 + 2400 + 30720 = 33270."""
    cells = _cells(results_markdown(result_rows([run_of()])), "lenet5_conv50", table=2)
    assert cells[4:6] == ["global", "50.00"]
    assert cells[6:] == ["2.88", "31,995 / 33,270", "20 + 3", "98.94", "ok"]


def test_the_allocation_stands_beside_the_sparsity_it_gave(run_of):
    runs = [run_of(name="a", allocation="explicit", group_sparsity=0.4812), run_of(name="b")]
    text = results_markdown(result_rows([*runs, run_of(name="c", allocation=None)]))
    assert "| seeds | allocation | group sparsity |" in text
    found = [_cells(text, name, table=2)[4:6] for name in "abc"]
    assert found == [["explicit", "48.12"], ["global", "50.00"], ["–", "50.00"]]


def test_counts_that_differ_between_seeds_show_their_range(layer_of, run_of):
    runs = [run_of(0), run_of(1, layers=[layer_of("conv1", [5, 5, 1, 6], 33270, 31993)])]
    cells = _cells(results_markdown(result_rows(runs)), "lenet5_conv50", table=2)
    assert cells[7] == "31,994 (31,993..31,995) / 33,270"


def test_headline_of_a_baseline_is_the_end_of_its_training(baseline_of):
    rows = result_rows([baseline_of()])
    cells = _cells(results_markdown(rows), "lenet5_dense")
    assert cells[8] == "**99.00**"
    assert _cells(results_markdown(rows), "lenet5_dense", table=1)[10:14] == [
        "99.00",
        "99.02",
        "-0.02",
        "20",
    ]


def test_a_bar_in_a_name_does_not_break_the_table(run_of):
    text = results_markdown(result_rows([run_of(name="a|b", dataset="digits")]))
    assert "| a/b |" in text


def test_one_seed_that_failed_its_audit_shows_in_the_row(run_of):
    runs = [run_of(0), run_of(1, audit={"pruned": "failed"}), run_of(2, audit=None)]
    cells = _cells(results_markdown(result_rows(runs)), "lenet5_conv50", table=2)
    assert cells[-1] == "no audit; ok; pruned: failed"


def test_a_network_without_a_data_set_has_its_data(run_of):
    rows = result_rows([run_of(network="mine", dataset="")])
    assert "### mine on its data" in results_markdown(rows)


def test_weights_that_are_unknown_are_a_dash(run_of):
    assert "– | 20 + 3" in results_markdown(result_rows([run_of(layers=None)]))


def test_the_essence_has_a_line_for_each_finished_run_of_ours(run_of, baseline_of):
    """lenet5, conv 0.5: 0.9898 is published, dense 0.9902 (published_results.csv)."""
    runs = [run_of(0, final_accuracy=0.98), run_of(1, final_accuracy=0.99), baseline_of()]
    others = [
        run_of(name="published_lenet5_conv50", epochs=185),
        run_of(2, status="interrupted"),
        run_of(network="mine", dataset="", name="mine", group="fc", control_accuracy=None),
    ]
    assert headline_markdown(result_rows([*runs, *others])).splitlines() == [
        "| run | seeds | removed | dense | control | **pruned, retrained** | − control "
        "| published | epochs |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| lenet5_dense | 1 | – | 99.00 | – | – | – | 99.02 | 20 |",
        "| lenet5_conv50 | 2 | 50.00 of conv | 99.00 | 99.10 | **98.50 (98.00..99.00)** "
        "| -0.60 (-1.10..-0.10) | 98.98 | 20 + 3 |",
        "",
        "| run | seeds | removed | dense | **pruned, retrained** | epochs |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| mine | 1 | 50.00 of fc | 99.00 | **98.95** | 20 + 3 |",
    ]


def test_the_essence_of_held_out_images_has_nothing_of_the_test_set_beside_it(baseline_of):
    runs = [
        baseline_of(seed) | {"dense_accuracy": None, "validation_accuracy": value}
        for seed, value in enumerate((0.62, 0.64))
    ]
    assert headline_markdown(result_rows(runs)).splitlines() == [
        "| run | seeds | validation | epochs |",
        "| --- | ---: | ---: | ---: |",
        "| lenet5_dense | 2 | 63.00 (62.00..64.00) | 20 |",
    ]


def test_csv_has_a_line_a_seed_in_full_precision(run_of):
    third = 1 / 3
    lines = list(csv.DictReader(io.StringIO(results_csv(result_rows([run_of(0), run_of(1)])))))
    ours = [line for line in lines if line["status"] == "complete"]
    assert [line["seed"] for line in ours] == ["0", "1"]
    run = run_of(final_accuracy=third)
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


def test_csv_lists_published_results_that_were_not_run(run_of):
    lines = list(csv.DictReader(io.StringIO(results_csv(result_rows([run_of()])))))
    assert len(lines) == 7
    missing = lines[-1]
    assert (missing["status"], missing["name"], missing["seed"]) == ("not run", "", "")
    assert missing["published_first_test_accuracy"] == "0.8973"


def test_no_rows_give_an_empty_csv():
    assert results_csv([]) == ""


def test_layers_stand_beside_the_published_ones(run_of):
    """22 / 150 = 14.67 % and 1253 / 2400 = 52.21 %, as published."""
    text = layers_markdown(result_rows([run_of(0), run_of(1)]))
    assert "**lenet5_conv50: conv at 50.00 %** (2 seeds)" in text
    assert _cells(text, "conv1") == [
        "conv1", "5x5x1x6", "150", "128", "14.67", "14.67", "+0.00",
    ]  # fmt: skip
    assert _cells(text, "conv2")[3:] == ["1,147", "52.21", "52.21", "+0.00"]
    assert "**not run: fc at 90.00 %**" in text


def test_layers_show_the_range_over_the_seeds(layer_of, run_of):
    other = [layer_of("conv1", [5, 5, 1, 6], 150, 120)]
    cells = _cells(layers_markdown(result_rows([run_of(0), run_of(1, layers=other)])), "conv1")
    assert cells[3:5] == ["124 (120..128)", "17.33 (14.67..20.00)"]


def test_a_published_layer_that_no_run_has_is_a_row_of_dashes(run_of):
    cells = _cells(layers_markdown(result_rows([run_of(layers=None)])), "conv2")
    assert cells == ["conv2", "–", "–", "–", "–", "52.21", "–"]
