"""erk, the map by layer, and what rounding may not do."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_allocation import groups, highest_fraction, run

from tfprune.errors import UsageError

shapes = st.lists(
    st.lists(st.integers(1, 6), min_size=2, max_size=4).map(tuple), min_size=1, max_size=5
)


def of_shapes(*all_shapes):
    return {f"l{i}": np.arange(math.prod(s)).reshape(s) for i, s in enumerate(all_shapes)}


def test_erk_golden():
    # LeNet-300-100 without its output layer, by hand: 265200 weights, 26520 stay. Shares of
    # eps are 784 + 300 = 1084 and 300 + 100 = 400: kept 26520 x 1084 / 1484 = 19371.75 and
    # 7148.25; removed 215828.25 and 22851.75, the larger remainder rounds up.
    group = of_shapes((784, 300), (300, 100))
    assert run("erk", group, sparsity=0.9).removed == {"l0": 215828, "l1": 22852}


def test_erk_keeps_small_layers_dense_and_shares_the_rest_anew():
    # 36 + 5000 + 200 weights at 0.5: 2618 stay. Shares 3 + 3 + 1 + 4 = 11, 150, 30:
    # eps = 2618 / 191 = 13.7, of which 11 would give l0 150 > 36 weights and 30 give l2
    # 411 > 200. Both are dense, and l1 keeps 2618 - 236 = 2382.
    group = of_shapes((3, 3, 1, 4), (100, 50), (20, 10))
    assert run("erk", group, sparsity=0.5).removed == {"l0": 0, "l1": 2618, "l2": 0}


@given(shapes, st.data())
def test_erk_is_one_eps_for_all_layers_within_one_weight(all_shapes, data):
    group = of_shapes(*all_shapes)
    sparsity = data.draw(highest_fraction(group))
    sizes = {name: a.size for name, a in group.items()}
    raw = {name: sum(a.shape) for name, a in group.items()}
    kept = sum(sizes.values()) - math.floor(sparsity * sum(sizes.values()) + 0.5)
    low, high = 0.0, 1e4  # another hand: eps by bisection, min(N, eps raw) by definition
    for _ in range(100):
        eps = (low + high) / 2
        total = sum(min(sizes[k], eps * raw[k]) for k in sizes)
        low, high = (eps, high) if total < kept else (low, eps)
    result = run("erk", group, sparsity=sparsity)
    assert sum(result.removed.values()) == sum(sizes.values()) - kept
    if not result.protected:
        for name, removed in result.removed.items():
            assert abs(sizes[name] - min(sizes[name], high * raw[name]) - removed) < 1 + 1e-6


@given(shapes, st.data())
def test_the_order_of_layers_moves_no_more_than_a_remainder(all_shapes, data):
    group = of_shapes(*all_shapes)
    sparsity = data.draw(highest_fraction(group))
    for name in ("erk", "uniform"):
        forward = run(name, group, sparsity=sparsity)
        backward = run(name, dict(reversed(group.items())), sparsity=sparsity)
        assert sum(forward.removed.values()) == sum(backward.removed.values())
        if not forward.protected + backward.protected:
            assert all(abs(forward.removed[k] - backward.removed[k]) <= 1 for k in group)


@given(shapes, st.data())
def test_pruning_on_in_small_steps_never_asks_a_weight_back(all_shapes, data):
    group = of_shapes(*all_shapes)
    low, high = sorted(data.draw(st.tuples(highest_fraction(group), highest_fraction(group))))
    for name in ("uniform", "erk"):
        first = run(name, group, sparsity=low).removed
        scores = {k: np.where(a < first[k], -np.inf, a) for k, a in group.items()}
        then = run(name, scores, group, sparsity=high).removed
        assert all(first[k] <= then[k] for k in group)
        assert sum(then.values()) == math.floor(high * sum(a.size for a in group.values()) + 0.5)


@given(groups, st.data())
def test_erk_totals_are_exact_and_no_layer_dies(group, data):
    sparsity = data.draw(highest_fraction(group))
    total = sum(a.size for a in group.values())
    for name in ("erk", "lamp"):
        result = run(name, group, sparsity=sparsity)
        assert sum(result.removed.values()) == math.floor(sparsity * total + 0.5)
        assert all(0 <= n < group[k].size for k, n in result.removed.items())
        assert list(result.removed) == list(result.thresholds) == list(group)


def test_units_are_shared_by_the_shapes_of_the_weights():
    # 8 neurons of 9 weights, density eps x 17 / 72, and 10 of 30, eps x 40 / 300: shares of
    # eps are 8 x 17 / 72 = 1.889 and 10 x 40 / 300 = 1.333. 9 of 18 stay, 9 x 1.889 / 3.222 =
    # 5.276 and 3.724; 2.724 and 6.276 go, and the larger remainder rounds up.
    weights = {"a": np.ones((9, 8)), "b": np.ones((30, 10))}
    scores = {"a": np.arange(8), "b": np.arange(10)}
    assert run("erk", scores, weights, sparsity=0.5).removed == {"a": 3, "b": 6}


@pytest.mark.parametrize(
    ("wanted", "removed"),
    [
        ({"conv*": 0.5, "fc1": 0.9}, {"conv1": 5, "conv2": 5, "fc1": 9}),
        ({"*": 0.1, "fc1": 0.9}, {"conv1": 1, "conv2": 1, "fc1": 9}),  # an exact name wins,
        ({"fc1": 0.9, "*": 0.1}, {"conv1": 1, "conv2": 1, "fc1": 9}),  # wherever it stands;
        ({"c*": 0.1, "conv*": 0.3, "f?1": 0.9}, {"conv1": 3, "conv2": 3, "fc1": 9}),  # longer,
        ({"*2": 0.1, "c*": 0.2, "fc1": 0}, {"conv1": 2, "conv2": 1, "fc1": 0}),  # then first
        ({"c*": 0.2, "*2": 0.1, "fc1": 0}, {"conv1": 2, "conv2": 2, "fc1": 0}),
        ({"[cf]*1": 0.4, "conv2": 0.2}, {"conv1": 4, "conv2": 2, "fc1": 4}),
    ],
)
def test_a_map_by_layer_takes_patterns(wanted, removed):
    group = {name: np.arange(10) for name in ("conv1", "conv2", "fc1")}
    assert run("explicit", group, layer_sparsity=wanted).removed == removed


def test_a_pattern_that_fits_nothing_and_a_layer_without_one_are_errors():
    group = {name: np.arange(10) for name in ("conv1", "fc1")}
    with pytest.raises(UsageError, match=r"names no layer of the group: dense\*. The group is: c"):
        run("explicit", group, layer_sparsity={"*": 0.5, "dense*": 0.5})
    with pytest.raises(UsageError, match="lacks layers of the group: fc1"):
        run("explicit", group, layer_sparsity={"conv?": 0.5})
