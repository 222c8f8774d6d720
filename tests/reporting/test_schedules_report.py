import struct

import pytest

from tfprune.reporting.console import console_row
from tfprune.reporting.plots import series_of
from tfprune.reporting.rows import result_rows, schedule_of
from tfprune.reporting.schedules import schedules_markdown, schedules_plot
from tfprune.reporting.tables import results_markdown

ROUND = {
    "target_sparsity": 0.5,
    "epochs": 2,
    "first_test_accuracy": 0.9,
    "first_epoch_accuracy": 0.95,
    "validation_accuracy": None,
}
ROUNDS = [
    {"round": 1, "group_sparsity": 0.5, "final_accuracy": 0.97, **ROUND},
    {"round": 2, "group_sparsity": 0.75, "final_accuracy": 0.96, **ROUND},
]


@pytest.fixture
def runs(run_of):
    """Two schedules at two targets, three seeds each; iterative pruning lacks one of them."""

    def make(name, target, error, seeds=3, **changes):
        return [
            run_of(
                seed,
                **{"name": f"{name}{target}", "target_sparsity": target},
                **{"final_accuracy": 1 - error - 0.001 * (seed - 1), **changes},
            )
            for seed in range(seeds)
        ]

    return [
        *make("one", 0.92, 0.016),
        *make("one", 0.985, 0.03),
        *make("it", 0.92, 0.014, schedule="iterative", rounds=ROUNDS),
        *make("it", 0.985, 0.02, seeds=2, schedule="iterative", rounds=ROUNDS),
    ]


def test_the_table_has_a_line_a_schedule_and_a_column_a_target(runs):
    text = schedules_markdown(result_rows(runs))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table == [
        "| schedule | epochs | 92 % | 98.5 % |",
        "| --- | --- | ---: | ---: |",
        "| one shot | 20 + 3 | 1.60 (1.50..1.70) | 3.00 (2.90..3.10) |",
        "| – its control | 20 + 3 | 0.90 | 0.90 |",
        "| iterative, 2 rounds | 20 + 3 | 1.40 (1.30..1.50) | 1.95 (1.90..2.00) [2 seeds] |",
        "| – its control | 20 + 3 | 0.90 | 0.90 [2 seeds] |",
    ]
    assert "### lenet5 on mnist" in text and "Dense: 1.00\n" in text


def _dense_line(runs):
    lines = schedules_markdown(result_rows(runs)).splitlines()
    return next(line for line in lines if line.startswith("Dense: "))


def test_a_single_seed_says_so_however_many_rows_it_has(run_of):
    schedules = ("one_shot", "gradual", "iterative")
    runs = [
        run_of(name=schedule, schedule=schedule, dense_accuracy=0.9943) for schedule in schedules
    ]
    assert _dense_line(runs) == "Dense: 0.57 [1 seed]"
    assert "| one shot | 20 + 3 | 1.05 [1 seed] |" in schedules_markdown(result_rows(runs))


def test_each_baseline_counts_once_and_seeds_are_what_is_counted(run_of):
    """Seed 1 has two baselines, of two processors, and one of them two schedules."""
    found = [
        (*("one", 0, "one_shot"), 0.99),
        (*("one", 1, "one_shot"), 0.98),
        (*("all", 0, "gradual"), 0.99),
        (*("all", 1, "gradual"), 0.97),
    ]
    runs = [
        run_of(seed, name=name, schedule=schedule, dense_accuracy=dense)
        for name, seed, schedule, dense in found
    ]
    assert _dense_line(runs) == "Dense: 2.00 (1.00..3.00) [2 seeds]"
    third = run_of(2, name="all", schedule="gradual", dense_accuracy=0.98)
    assert _dense_line([*runs, third]) == "Dense: 2.00 (1.00..3.00)"


def test_nothing_is_compared_where_there_is_one_schedule_or_a_run_is_not_complete(runs, run_of):
    alone = result_rows(runs[:6])
    assert schedules_markdown(alone) is schedules_plot(alone) is None
    stopped = run_of(name="other", schedule="gradual", status="interrupted")
    assert schedules_markdown(result_rows([*runs[:6], stopped])) is None


def test_the_picture_is_a_png_of_readme_width_and_the_same_each_time(runs):
    first, second = (schedules_plot(result_rows(each)) for each in (runs, runs[::-1]))
    assert first == second and first[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", first[16:20]) == (960,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "one shot"),
        ({"schedule": "gradual", "rewind": "rate, epoch 0"}, "gradual"),
        ({"schedule": "iterative", "rounds": ROUNDS}, "iterative, 2 rounds"),
        ({"rewind": "weights, epoch 1"}, "one shot, weights of epoch 1"),
        ({"rewind": "none"}, "one shot"),
        ({"teacher": "control, weight 0.5"}, "one shot, distilled"),
        ({"schedule": None}, "one shot"),
    ],
)
def test_a_schedule_in_words(run_of, changes, words):
    run = run_of(**changes)
    assert schedule_of(run) == words
    (row,) = (row for row in result_rows([run]) if row.runs)
    assert series_of(row) == ("ours" if words == "one shot" else f"ours, {words}")


def test_the_results_have_a_column_for_the_schedule_where_one_is_not_one_shot(runs):
    def header(rows):
        return results_markdown(rows).splitlines()[2]

    assert "schedule" not in header(result_rows(runs[:6]))
    assert "| target | schedule | seeds |" in header(result_rows(runs))
    assert "| it0.92 | conv | 92.00 | iterative, 2 rounds | 3 seeds |" in results_markdown(
        result_rows(runs)
    )


def test_the_console_shows_the_rounds(run_of):
    text = console_row(run_of(schedule="iterative", rounds=ROUNDS))
    assert "target sparsity 50.00 %, iterative, 2 rounds" in text
    assert "round  sparsity  epochs  first test  final" in text
    assert "2       75.00 %       2       90.00  96.00" in text
