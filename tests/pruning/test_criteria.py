import numpy as np
import pytest

from tfprune.errors import UsageError
from tfprune.pruning.criteria import CRITERIA, criterion, score


def test_magnitude_is_the_absolute_value():
    scores = score("magnitude", np.array([[-2.0, 0.5], [-0.0, 1.0]]), np.random.default_rng(0))
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [[2.0, 0.5], [0.0, 1.0]])


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
    with pytest.raises(UsageError, match=r"magnitude, random, snip, synflow. Received: 'taylor'"):
        score("taylor", np.ones(2), np.random.default_rng(0))
