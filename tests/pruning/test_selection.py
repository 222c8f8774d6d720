import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.pruning import selection
from tfprune.pruning.selection import counts, kth_lowest


def _sorted_without(arrays, without):
    left = np.sort(np.concatenate([array.ravel() for array in arrays])).tolist()
    for value in without:
        left.remove(value)
    return left


@pytest.fixture(scope="module", autouse=True)
def small_samples():
    """Brackets from 20 scores and blocks of 16, so that small arrays take the long way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "_SAMPLE", 20)
        patch.setattr(selection, "BLOCK", 16)
        patch.setattr(selection, "_DEVIATIONS", 1.0)  # and so that some brackets miss
        yield


@given(
    seed=st.integers(0, 10**6),
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=4),
    decimals=st.sampled_from([0, 1, 8]),
    removed=st.sampled_from([0.0, 0.3, 0.9]),
    share=st.floats(0, 1),
)
def test_it_is_what_a_sort_gives_with_ties_and_removed_weights(
    seed, sizes, decimals, removed, share
):
    rng = np.random.default_rng(seed)
    arrays = [np.round(rng.standard_normal(n), decimals).astype(np.float32) for n in sizes]
    for array in arrays:
        array[rng.random(array.size) < removed] = -np.inf
    for without in ([], [array.max() for array in arrays]):
        expected = _sorted_without(arrays, without)
        if expected:
            k = 1 + int(share * (len(expected) - 1))
            assert kth_lowest(arrays, k, without) == expected[k - 1]


def test_it_is_the_same_for_the_first_the_last_and_any_shape_and_type():
    scores = np.arange(1000.0)[::-1].reshape(10, 10, 10)
    assert [kth_lowest([scores], k) for k in (1, 500, 1000)] == [0.0, 499.0, 999.0]
    assert kth_lowest([scores], 1).dtype == np.float64


def test_all_scores_equal():
    assert kth_lowest([np.ones(400, np.float32)], 200) == 1.0
    assert kth_lowest([np.full(400, -np.inf, np.float32)], 399, [-np.inf]) == -np.inf


def test_counts_below_and_at_a_value():
    assert counts(np.array([[1.0, 2.0], [2.0, 3.0]] * 20), 2.0) == (20, 40)
