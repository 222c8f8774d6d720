import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.errors import UsageError
from tfprune.pruning.schedule import PolynomialSchedule, round_sparsities, update_at


def test_the_cubic_has_the_values_of_the_formula():
    """0.8 (1 - (1 - t/8) ** 3): at 2 of 8 steps 0.8 (1 - 27/64) = 0.4625, at 4 0.7."""
    schedule = PolynomialSchedule(0.8, end_step=8, frequency=2)
    values = {step: schedule(step)[1] for step in (0, 2, 4, 8, 20)}
    assert values == pytest.approx({0: 0, 2: 0.4625, 4: 0.7, 8: 0.8, 20: 0.8})


def test_a_power_of_one_is_a_straight_line_between_both_sparsities():
    schedule = PolynomialSchedule(0.9, 30, begin_step=10, initial_sparsity=0.5, power=1)
    assert [schedule(step)[1] for step in (0, 10, 15, 20, 30)] == pytest.approx(
        [0.5, 0.5, 0.6, 0.7, 0.9]
    )


def test_updates_are_due_every_so_many_steps_and_at_the_end():
    schedule = PolynomialSchedule(0.9, 20, begin_step=4, frequency=7)
    assert [step for step in range(40) if schedule(step)[0]] == [4, 11, 18, 20]
    assert [schedule.next_update(step) for step in (0, 3, 4, 17, 18, 19, 20, 30)] == [
        *(4, 4, 11, 18, 20, 20, None, None)
    ]


@given(
    final=st.floats(0, 0.99),
    begin=st.integers(0, 20),
    length=st.integers(1, 60),
    power=st.floats(0.5, 5),
    frequency=st.integers(1, 70),
)
def test_any_polynomial_rises_and_ends_at_its_final_sparsity(
    final, begin, length, power, frequency
):
    schedule = PolynomialSchedule(final, begin + length, begin, 0.0, power, frequency)
    due = [s for step in range(100) if (s := update_at(schedule, step)) is not None]
    assert due == sorted(due) and due[-1] == final and due[0] == 0
    steps, step = [], -1
    while (step := schedule.next_update(step)) is not None:
        steps.append(step)
    assert steps == [step for step in range(100) if schedule(step)[0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"final_sparsity": 1.0}, r"final_sparsity must be in \[0, 1\). Received: 1.0"),
        ({"final_sparsity": -0.1}, "final_sparsity"),
        ({"initial_sparsity": 0.95}, r"initial_sparsity must be in \[0, final_sparsity=0.9\]"),
        ({"begin_step": -1}, "begin_step must be >= 0. Received: -1"),
        ({"end_step": 5, "begin_step": 5}, "end_step must be > begin_step=5. Received: 5"),
        ({"power": 0}, "power must be > 0. Received: 0"),
        ({"frequency": 0}, "frequency must be >= 1. Received: 0"),
    ],
)
def test_a_polynomial_out_of_range_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        PolynomialSchedule(**{"final_sparsity": 0.9, "end_step": 10} | arguments)


def test_any_function_of_the_step_is_a_schedule():
    assert update_at(lambda step: (step == 3, 0.5), 3) == 0.5
    assert update_at(lambda step: (np.bool_(step == 3), np.float64(0.5)), 2) is None


def test_a_float32_sparsity_is_read_as_the_decimal_that_it_stands_for():
    """float32(0.9) is 0.89999998 as a float64, which would lose 9 of 10 weights less often."""
    assert update_at(lambda step: (True, np.float32(0.9)), 0) == 0.9
    assert update_at(lambda step: (True, np.asarray(0.985, np.float32)), 0) == 0.985


@pytest.mark.parametrize("answer", [None, 0.5, (True,), (True, "half"), (True, [0.1, 0.2])])
def test_what_is_no_answer_of_a_schedule_is_refused(answer):
    with pytest.raises(UsageError, match="Received at step 7: "):
        update_at(lambda step: answer, 7)


def test_rounds_keep_the_same_fraction_each():
    """1 - 0.1 ** (i / 2): density 0.316 of all, then 0.316 of that."""
    assert round_sparsities(0.9, 2) == pytest.approx([1 - 0.1**0.5, 0.9])
    assert round_sparsities(0.875, 3) == pytest.approx([0.5, 0.75, 0.875])
    assert round_sparsities(0.3, 1) == [0.3]


@given(st.floats(0, 0.999), st.integers(1, 30))
def test_densities_of_rounds_are_geometric_and_the_last_is_exact(sparsity, rounds):
    found = round_sparsities(sparsity, rounds)
    assert len(found) == rounds and found[-1] == sparsity
    densities = [1.0, *(1 - s for s in found)]
    ratios = [after / before for before, after in itertools.pairwise(densities)]
    assert ratios == pytest.approx([(1 - sparsity) ** (1 / rounds)] * rounds)
