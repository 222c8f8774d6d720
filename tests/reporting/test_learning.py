import struct

import pytest

from tfprune.reporting.learning import learning_markdown, learning_plot
from tfprune.reporting.rows import result_rows


def history(*accuracies, seconds=1800.0):
    return [
        {"epoch": number, "loss": 0.1, "learning_rate": 0.01 / number, "seconds": seconds}
        | {"train_accuracy": accuracy - 0.1, "test_accuracy": accuracy}
        for number, accuracy in enumerate(accuracies, 1)
    ]


def table_of(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def test_the_table_has_a_line_an_epoch_with_the_spread_over_seeds(run_of, baseline_of):
    first, other = history(0.5, 0.6, 0.7), history(0.6, 0.8, 0.7, seconds=5400.0)
    runs = [
        *(baseline_of(0) | {"dense_history": first}, run_of(0, dense_history=first)),
        *(baseline_of(1) | {"dense_history": other}, run_of(1, dense_history=other)),
    ]
    text = learning_markdown(result_rows(runs))
    assert "### lenet5 on mnist\n\nlenet5_dense, 2 seeds:\n" in text
    assert table_of(text) == [
        "| epoch | rate | training | test | hours |",
        "| ---: | ---: | ---: | ---: | ---: |",
        "| 1 | 0.01 | 45.00 (40.00..50.00) | 55.00 (50.00..60.00) | 1.000 |",
        "| 2 | 0.005 | 60.00 (50.00..70.00) | 70.00 (60.00..80.00) | 2.000 |",
        "| 3 | 0.0033 | 60.00 | 70.00 | 3.000 |",
    ]


def test_of_a_long_training_twenty_epochs_are_shown_and_the_last_is_one(baseline_of):
    rows = result_rows([baseline_of() | {"dense_history": history(*[0.9] * 50)}])
    numbers = [int(line.split()[1]) for line in table_of(learning_markdown(rows))[2:]]
    assert len(numbers) == 20 and numbers[-1] == 50 and numbers == sorted(set(numbers))
    assert table_of(learning_markdown(rows))[-1] == "| 50 | 0.0002 | 80.00 | 90.00 | 25.000 |"


@pytest.mark.parametrize(
    "changes",
    [
        {"dense_history": None},
        {"status": "interrupted"},
        {"group": "conv", "target_sparsity": 0.5},
        {"dense_history": [row | {"test_accuracy": None} for row in history(0.5, 0.6)]},
    ],
)
def test_without_a_dense_run_that_was_trained_and_tested_there_is_nothing(baseline_of, changes):
    rows = result_rows([baseline_of() | changes])
    assert learning_markdown(rows) is None
    assert learning_plot(rows) is None


def test_where_images_were_held_out_those_judge(baseline_of):
    def rows_of(**changes):
        return result_rows([baseline_of() | changes])

    tested = history(0.5, 0.6)
    held_out = [
        row | {"test_accuracy": None, "validation_accuracy": row["test_accuracy"]} for row in tested
    ]
    rows = rows_of(dense_accuracy=None, final_accuracy=None, dense_history=held_out)
    assert table_of(learning_markdown(rows)) == [
        "| epoch | rate | training | held out | hours |",
        "| ---: | ---: | ---: | ---: | ---: |",
        "| 1 | 0.01 | 40.00 | 50.00 | 0.500 |",
        "| 2 | 0.005 | 50.00 | 60.00 | 1.000 |",
    ]
    assert learning_plot(rows) == learning_plot(rows_of(dense_history=tested))


def test_what_an_epoch_does_not_say_is_a_dash_in_its_own_line(baseline_of):
    """Hours are unknown from the first epoch of unknown length."""
    learned = history(0.5, 0.6, 0.7)
    learned[0] |= {"train_accuracy": None}
    learned[1] |= {"learning_rate": None, "seconds": None}
    rows = result_rows([baseline_of() | {"dense_history": learned}])
    assert table_of(learning_markdown(rows))[2:] == [
        "| 1 | 0.01 | – | 50.00 | 0.500 |",
        "| 2 | – | 50.00 | 60.00 | – |",
        "| 3 | 0.0033 | 60.00 | 70.00 | – |",
    ]
    assert learning_plot(rows) is not None


def test_epochs_of_one_seed_alone_are_labelled(baseline_of):
    """The other seed has an epoch less, and one of unknown length."""
    first, other = history(0.5, 0.6, 0.7), history(0.6, 0.8)
    other[1] |= {"train_accuracy": None, "seconds": None}
    rows = result_rows(
        [baseline_of(0) | {"dense_history": first}, baseline_of(1) | {"dense_history": other}]
    )
    assert table_of(learning_markdown(rows))[2:] == [
        "| 1 | 0.01 | 45.00 (40.00..50.00) | 55.00 (50.00..60.00) | 0.500 |",
        "| 2 | 0.005 | 50.00 [1 of 2 seeds] | 70.00 (60.00..80.00) | – |",
        "| 3 | 0.0033 | 60.00 [1 of 2 seeds] | 70.00 [1 of 2 seeds] | – |",
    ]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("key", ["seconds", "train_accuracy", "learning_rate"])
def test_a_quantity_that_no_epoch_says_is_a_column_of_dashes(baseline_of, key):
    learned = [row | {key: None} for row in history(0.5, 0.6)]
    rows = result_rows([baseline_of() | {"dense_history": learned}])
    column = {"learning_rate": 2, "train_accuracy": 3, "seconds": 5}[key]
    lines = table_of(learning_markdown(rows))[2:]
    assert [line.split("|")[column].strip() for line in lines] == ["–", "–"]
    assert learning_plot(rows).startswith(b"\x89PNG")


def test_the_picture_is_a_small_png_of_readme_width_and_shows_what_changes(baseline_of):
    def draw(learned):
        return learning_plot(result_rows([baseline_of() | {"dense_history": learned}]))

    content = draw(history(0.5, 0.6, 0.7))
    assert content == draw(history(0.5, 0.6, 0.7))
    assert struct.unpack(">II", content[16:24])[0] == 960 and len(content) < 100_000
    for other in (history(0.5, 0.6, 0.8), history(0.5, 0.6, 0.7, seconds=60.0)):
        assert draw(other) != content
