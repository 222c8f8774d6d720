import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.errors import TfpruneError, UsageError
from tfprune.pruning.allocation import ALLOCATIONS, Target, allocate, allocation

# Few distinct values make many ties.
layer = st.lists(st.integers(0, 5), min_size=1, max_size=12).map(lambda v: np.array(v, np.float32))
groups = st.lists(layer, min_size=1, max_size=5).map(
    lambda arrays: {f"l{i}": array for i, array in enumerate(arrays)}
)


def run(name, scores, weights=None, **target):
    scores = {k: np.asarray(v, np.float32) for k, v in scores.items()}
    weights = scores if weights is None else {k: np.asarray(v) for k, v in weights.items()}
    return allocate(name, scores, weights, Target(**target))


def highest_fraction(group):
    """A sparsity from 0 to the highest that leaves each layer a weight."""
    total = sum(a.size for a in group.values())
    return st.integers(0, total - len(group)).map(lambda n: n / total)


def sorted_rule(group, count):
    """The global rule said plainly: sort everything, walk, leave each layer its last weight."""
    everything = [
        (value, i, j, name)
        for i, (name, array) in enumerate(group.items())
        for j, value in enumerate(array)
    ]
    removed, protected = dict.fromkeys(group, 0), set()
    for _, _, _, name in sorted(everything):
        if sum(removed.values()) == count:
            break
        if removed[name] == group[name].size - 1:
            protected.add(name)
        else:
            removed[name] += 1
    return removed, protected


def test_global_golden():
    # Sorted: .1 .2 .3 .4 .5 .6 .7 .8 .9 1.0; half of ten weights: .1 to .5.
    result = run(
        "global",
        {"a": [0.1, 0.9, 0.3, 0.7], "b": [[0.2, 0.4, 0.5], [0.6, 0.8, 1.0]]},
        sparsity=0.5,
    )
    assert result.removed == {"a": 2, "b": 3}
    assert result.thresholds == {"a": 0.5, "b": 0.5}
    assert result.protected == ()


def test_global_ties_go_in_model_order():
    result = run("global", {"a": [1, 1, 1], "b": [1, 1, 1], "c": [2, 2]}, sparsity=0.5)
    assert result.removed == {"a": 2, "b": 2, "c": 0}  # the last of a is protected
    assert result.protected == ("a",)
    assert result.thresholds["c"] == -math.inf


def test_global_protects_the_last_weight_and_takes_the_next_smallest_elsewhere():
    result = run("global", {"small": [0.1, 0.2], "large": [1, 2, 3, 4]}, sparsity=0.5)
    assert result.removed == {"small": 1, "large": 2}
    assert result.protected == ("small",)


def test_a_layer_that_happens_to_keep_one_is_not_called_protected():
    result = run("global", {"a": [1, 9], "b": [2, 8]}, sparsity=0.5)
    assert result.removed == {"a": 1, "b": 1}
    assert result.protected == ()


@given(groups, st.data())
def test_global_agrees_with_a_plain_sort(group, data):
    sparsity = data.draw(highest_fraction(group))
    count = math.floor(sparsity * sum(a.size for a in group.values()) + 0.5)
    result = run("global", group, sparsity=sparsity)
    removed, protected = sorted_rule(group, count)
    assert result.removed == removed
    assert set(result.protected) == protected


@given(groups, st.data())
def test_totals_are_exact_and_no_layer_dies(group, data):
    sparsity = data.draw(highest_fraction(group))
    total = sum(a.size for a in group.values())
    for name in ("global", "uniform", "stddev"):
        result = run(name, group, sparsity=sparsity)
        assert sum(result.removed.values()) == math.floor(sparsity * total + 0.5)
        assert all(0 <= n < group[k].size for k, n in result.removed.items())
        assert list(result.removed) == list(result.thresholds) == list(group)


@given(groups, st.data())
def test_more_sparsity_never_brings_a_global_weight_back(group, data):
    low, high = sorted(data.draw(st.tuples(highest_fraction(group), highest_fraction(group))))
    for name in ("global", "stddev", "lamp"):
        few, many = (run(name, group, sparsity=s).removed for s in (low, high))
        assert all(few[k] <= many[k] for k in group)


@settings(max_examples=30)
@given(st.permutations(list(range(24))), st.integers(0, 21))
def test_without_ties_the_order_of_layers_does_not_matter(values, count):
    parts = np.split(np.array(values, np.float32), [5, 14])
    group = dict(zip("abc", parts, strict=True))
    backwards = dict(reversed(group.items()))
    for name in ("global", "lamp"):
        forward = run(name, group, sparsity=count / 24)
        backward = run(name, backwards, sparsity=count / 24)
        assert forward.removed == backward.removed
        assert set(forward.protected) == set(backward.protected)


def test_removed_before_goes_first():
    scores = {"a": [-np.inf, 5, 6], "b": [1, -np.inf, 7]}
    result = run("global", scores, {"a": [0, 5, 6], "b": [1, 0, 7]}, sparsity=0.5)
    assert result.removed == {"a": 1, "b": 2}


def test_uniform_golden():
    # n = 9 of 18: quotas 1.5, 2.5, 5: the equal remainders go to the earlier layer.
    group = {"a": np.arange(3), "b": np.arange(5), "c": np.arange(10)}
    result = run("uniform", group, sparsity=0.5)
    assert result.removed == {"a": 2, "b": 2, "c": 5}
    assert result.thresholds == {"a": 1, "b": 1, "c": 4}
    assert result.protected == ()


def test_uniform_protects_the_last_weight():
    # n = 8 of 10: quotas 0.8 and 7.2 would take the only weight of a.
    result = run("uniform", {"a": [1], "b": np.arange(9)}, sparsity=0.8)
    assert result.removed == {"a": 0, "b": 8}
    assert result.protected == ("a",)


@given(groups, st.data())
def test_uniform_stays_within_one_weight_of_the_quota(group, data):
    sparsity = data.draw(highest_fraction(group))
    total = sum(a.size for a in group.values())
    result = run("uniform", group, sparsity=sparsity)
    if not result.protected:
        count = sum(result.removed.values())
        for name, removed in result.removed.items():
            assert abs(removed - count * group[name].size / total) < 1


def test_explicit_rounds_each_layer():
    group = {"a": np.arange(5), "b": np.arange(10)}
    result = run("explicit", group, layer_sparsity={"b": 0.44, "a": 0.5})
    assert result.removed == {"a": 3, "b": 4}
    assert result.thresholds == {"a": 2, "b": 3}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"a": 0.5, "z": 0.5}, "names no layer of the group: z. The group is: a, b"),
        ({"a": 0.5}, "lacks layers of the group: b. The group is: a, b"),
        ({"a": 0.5, "b": 1.0}, r"\[0, 1\).*Received: 1.0"),
        ({"a": 0.5, "b": 0.9}, "'b' has 3 weights and must keep one. .*removes 3"),
    ],
)
def test_explicit_errors(wanted, message):
    with pytest.raises(UsageError, match=message):
        run("explicit", {"a": [1, 2], "b": [1, 2, 3]}, layer_sparsity=wanted)


def test_stddev_quality_golden():
    # std([-3, -1, 1, 3]) = sqrt(5) = 2.236, std([-30, ...]) = 22.36: quality 0.5 cuts at 1.118
    # and at 11.18.
    weights = {"a": [-3.0, -1.0, 1.0, 3.0], "b": [-30.0, -10.0, 10.0, 30.0]}
    scores = {name: np.abs(w) for name, w in weights.items()}
    assert run("stddev", scores, weights, quality=0.5).removed == {"a": 2, "b": 2}
    assert run("stddev", scores, weights, quality=0.4).removed == {"a": 0, "b": 0}
    everything = run("stddev", scores, weights, quality=2.0)
    assert everything.removed == {"a": 3, "b": 3}
    assert everything.protected == ("a", "b")


def test_stddev_solves_for_the_sparsity():
    # |w| / std is the same in both layers, where one global threshold would take a alone.
    weights = {"a": [-3.0, -1.0, 1.0, 3.0], "b": [-30.0, -10.0, 10.0, 30.0]}
    scores = {name: np.abs(w) for name, w in weights.items()}
    result = run("stddev", scores, weights, sparsity=0.5)
    assert result.removed == {"a": 2, "b": 2}
    assert result.thresholds == pytest.approx({"a": 1, "b": 10})
    assert run("global", scores, weights, sparsity=0.5).removed == {"a": 3, "b": 1}


def test_stddev_takes_a_layer_without_spread_last():
    group = {"flat": [2.0, 2.0, 2.0], "b": [1.0, 5.0, 9.0]}
    assert run("stddev", group, quality=1.0).removed["flat"] == 0
    assert run("stddev", group, sparsity=2 / 6).removed == {"flat": 0, "b": 2}
    assert run("stddev", group, sparsity=4 / 6).removed == {"flat": 2, "b": 2}


@given(groups, st.floats(0.01, 3))
def test_stddev_quality_is_its_formula(group, quality):
    result = run("stddev", group, quality=quality)
    for name, array in group.items():
        below = int((array < quality * np.std(array, dtype=np.float64)).sum())
        assert result.removed[name] == min(below, array.size - 1)
        assert (name in result.protected) == (below == array.size)


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("lottery", {"sparsity": 0.5}, "one of uniform, erk, .* lamp. Received: 'lottery'"),
        ("global", {}, "takes sparsity, and nothing else. Received: none"),
        ("global", {"sparsity": 0.5, "quality": 1.0}, "Received: sparsity, quality"),
        ("uniform", {"quality": 1.0}, "'uniform' takes sparsity"),
        ("explicit", {"sparsity": 0.5}, "'explicit' takes layer_sparsity"),
        ("stddev", {}, "takes sparsity or quality"),
        ("stddev", {"sparsity": 0.5, "quality": 1.0}, "takes quality or sparsity"),
        ("stddev", {"quality": -1.0}, "quality must be.*Received: -1.0"),
        ("stddev", {"quality": math.nan}, "quality must be.*Received: nan"),
        ("global", {"sparsity": 1.0}, r"\[0, 1\)"),
        (
            "global",
            {"sparsity": 0.8},
            r"5 weights \(units\) in 2 layers can lose at most 3.*removes 4",
        ),
        ("uniform", {"sparsity": 0.8}, "can lose at most 3"),
        ("stddev", {"sparsity": 0.8}, "can lose at most 3"),
    ],
)
def test_targets_that_cannot_be_used(name, target, message):
    with pytest.raises(UsageError, match=message):
        run(name, {"a": [1, 2], "b": [1, 2, 3]}, **target)


def test_nan_scores_name_the_layer():
    with pytest.raises(TfpruneError, match="layer 'b' cannot be ranked: 1 of 2"):
        run("global", {"a": [1, 2], "b": [1, np.nan]}, sparsity=0.5)


def test_a_newcomer_registers_by_name(monkeypatch):
    monkeypatch.setitem(ALLOCATIONS, "same", None)  # taken out again after the test
    allocation("same")(ALLOCATIONS["global"])
    assert run("same", {"a": [1, 2]}, sparsity=0.5).removed == {"a": 1}
