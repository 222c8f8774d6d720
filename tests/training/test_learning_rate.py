import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.training.learning_rate import PiecewiseConstant


def test_a_tenth_every_50_epochs_as_the_published_tables_have_it():
    rate = PiecewiseConstant(0.001, 0.1, decay_epochs=50)
    epochs = [0, 49, 50, 99, 100, 165]
    expected = [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-6]
    assert [rate.at_epoch(e) for e in epochs] == pytest.approx(expected)
    assert str(rate) == "0.1/50 epochs"


def test_given_boundaries_begin_a_new_rate():
    rate = PiecewiseConstant(1.0, 0.5, boundaries=(2, 3))
    assert [rate.at_epoch(e) for e in range(5)] == [1.0, 1.0, 0.5, 0.25, 0.25]
    assert str(rate) == "0.5 at epochs 2, 3"


def test_no_decay_is_constant():
    assert {PiecewiseConstant(0.1).at_epoch(e) for e in range(1000)} == {0.1}
    assert str(PiecewiseConstant(0.1)) == "none"


def test_warm_up_rises_linearly_and_ends_at_the_full_rate():
    rate = PiecewiseConstant(8.0, warmup_epochs=1.5)  # 4 steps an epoch: 6 steps of warm-up
    assert rate.steps(0, 4) == pytest.approx([8 / 6, 16 / 6, 24 / 6, 32 / 6])
    assert rate.steps(1, 4) == pytest.approx([40 / 6, 8, 8, 8])


@given(
    first=st.floats(1e-6, 10),
    decay=st.floats(0, 1),
    every=st.integers(0, 10),
    warmup=st.floats(0, 3),
)
def test_rates_never_rise_after_the_warm_up(first, decay, every, warmup):
    rate = PiecewiseConstant(first, decay, every, warmup_epochs=warmup)
    rates = np.concatenate([rate.steps(epoch, 7) for epoch in range(12)])
    assert rates.dtype == np.float32
    after = rates[round(7 * warmup) :]
    assert np.all(np.diff(after) <= 0) and np.all(rates <= np.float32(first))
