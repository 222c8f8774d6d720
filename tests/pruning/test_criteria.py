import numpy as np
import pytest

from tfprune.errors import UsageError
from tfprune.pruning.criteria import CRITERIA, criterion, score


def test_magnitude_is_the_absolute_value():
    scores = score("magnitude", np.array([[-2.0, 0.5], [-0.0, 1.0]]), np.random.default_rng(0))
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [[2.0, 0.5], [0.0, 1.0]])


def test_rate_is_magnitude_until_something_was_removed():
    weights = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    scores = score("rate", weights, np.random.default_rng(0))
    np.testing.assert_array_equal(scores, np.abs(weights))


def test_rate_by_hand():
    # Rows keep 2 and 1 of 2, columns 2 and 1 of 2, the matrix 3 of 4: odds 2.5 / 0.5 = 5 and 1
    # of both, 3.5 / 1.5 of the whole.
    weights = np.array([[1.0, -1.0], [2.0, 0.0]])
    bits = 4 - np.log2(np.array([[5 * 5, 5 * 1], [1 * 5, 1 * 1]]) / (3.5 / 1.5))
    assert bits.min() < 1 < bits[0, 1]
    expected = np.abs(weights) / np.sqrt(np.maximum(1, bits))
    scores = score("rate", weights, np.random.default_rng(0))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_rate_prefers_full_rows_and_columns_in_a_convolution():
    weights = np.ones((3, 3, 2, 4), np.float32)
    weights[..., 1] = 0  # a filter that lost all but one weight
    weights[0, 0, 0, 1] = 1
    scores = score("rate", weights, np.random.default_rng(0))
    assert scores[0, 0, 0, 1] < scores[..., 0].min() and not scores[0, 0, 1, 1]


def test_random_depends_on_the_seed_alone():
    first, second, other = (
        score("random", np.full((3, 4), w), np.random.default_rng(seed))
        for w, seed in ((1.0, 0), (2.0, 0), (1.0, 1))
    )
    assert first.dtype == np.float32 and first.shape == (3, 4)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert ((first >= 0) & (first < 1)).all()


def test_half_precision_weights_are_scored_in_float32():
    scores = score("magnitude", np.array([-1.5], np.float16), np.random.default_rng(0))
    assert scores.dtype == np.float32 and scores[0] == 1.5


def test_a_newcomer_registers_by_name(monkeypatch):
    monkeypatch.setattr("tfprune.pruning.criteria.CRITERIA", dict(CRITERIA))

    @criterion("signed")
    def signed(weights, rng):
        return weights

    np.testing.assert_array_equal(score("signed", np.array([-1.0]), np.random.default_rng(0)), [-1])


def test_unknown_criterion_lists_the_possible():
    with pytest.raises(
        UsageError, match=r"magnitude, rate, random, snip, synflow. Received: 'taylor'"
    ):
        score("taylor", np.ones(2), np.random.default_rng(0))
