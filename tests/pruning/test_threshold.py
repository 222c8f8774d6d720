"""lamp; global and stddev are tested with what all allocations promise."""

import numpy as np
import pytest
from golden import GLOBAL, LAMP_REMOVED, wave
from hypothesis import given
from hypothesis import strategies as st
from test_allocation import groups, highest_fraction, run

from tfprune.errors import UsageError
from tfprune.pruning.masks import keep_largest


def test_global_agrees_with_torch():
    group = {"a": np.abs(wave((4, 6), 1.0)), "b": np.abs(0.5 * wave((6, 5), 1.7))}
    removed = run("global", group, sparsity=0.5).removed
    for (name, scores), expected in zip(group.items(), GLOBAL, strict=True):
        np.testing.assert_array_equal(keep_largest(scores, removed[name]), expected)


def test_lamp_golden():
    # By hand, Lee et al. 2021 (eq. 4). a: 1/14 = 0.071, 4/13 = 0.308, 9/9; b: 100/600 = 0.167,
    # 100/500 = 0.2, 400/400. Three of six: 1 of a, both 10 of b, where global takes all but
    # the last of a first.
    group = {"a": [3, 1, 2], "b": [[10], [20], [10]]}
    result = run("lamp", group, sparsity=0.5)
    assert result.removed == {"a": 1, "b": 2}
    assert result.thresholds == {"a": 1, "b": 10}
    assert result.protected == ()
    assert run("global", group, sparsity=0.5).removed == {"a": 2, "b": 1}


def test_lamp_agrees_with_torch():
    group = {"a": np.abs(wave((4, 6), 1.0)), "b": np.abs(0.01 * wave((6, 5), 1.7))}
    assert list(run("lamp", group, sparsity=0.5).removed.values()) == LAMP_REMOVED


def test_lamp_leaves_each_layer_its_last_weight():
    result = run("lamp", {"a": [1, 2], "b": [3, 4, 5]}, sparsity=0.6)
    assert result.removed == {"a": 1, "b": 2}
    with pytest.raises(UsageError, match="can lose at most 3"):
        run("lamp", {"a": [1, 2], "b": [3, 4, 5]}, sparsity=0.8)


@given(groups, st.data())
def test_lamp_does_not_see_the_scale_of_a_layer(group, data):
    sparsity = data.draw(highest_fraction(group))
    scale = 2.0 ** data.draw(st.integers(-40, 40))
    scaled = {name: a * scale if name == "l0" else a for name, a in group.items()}
    before, after = (run("lamp", g, sparsity=sparsity).removed for g in (group, scaled))
    assert before == after


def test_lamp_takes_first_what_was_removed_before_and_counts_it_for_nothing():
    # Without the -inf a is [1, 2, 3] again: 0.071, 0.308, 1.
    group = {"a": [3, -np.inf, 1, 2], "b": [10, 20, 10, -np.inf]}
    assert run("lamp", group, sparsity=0.25).removed == {"a": 1, "b": 1}
    assert run("lamp", group, sparsity=5 / 8).removed == {"a": 2, "b": 3}


def test_lamp_refuses_scores_below_zero():
    with pytest.raises(UsageError, match=r">= 0. Received: .*-1.0.* in layer 'b'"):
        run("lamp", {"a": [1, 2], "b": [-1, 2]}, sparsity=0.5)
