import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.errors import UsageError
from tfprune.pruning.curves import LADDER, Sensitivity, check_ladder
from tfprune.pruning.masks import removed_count

# By hand. a: losses 0.01 at 50 weights, 0.04 at 80: 2/10,000 and 10/10,000 a weight.
# b: 0.02 at 150, 0.06 at 240: 1.33/10,000 and 4.44/10,000. So the order is b to 150, a to 50,
# b to 240, a to 80.
BY_HAND = Sensitivity(
    0.9, {"a": 100, "b": 300}, {"a": ((0.5, 0.89), (0.8, 0.86)), "b": ((0.5, 0.88), (0.8, 0.84))}
)


@pytest.mark.parametrize(
    ("sparsity", "removed", "loss"),
    [
        (0.0, {"a": 0, "b": 0}, 0.0),
        (0.25, {"a": 0, "b": 100}, 0.02 * 100 / 150),
        (0.375, {"a": 0, "b": 150}, 0.02),
        (0.5, {"a": 50, "b": 150}, 0.03),
        (0.6, {"a": 50, "b": 190}, 0.03 + 0.04 * 40 / 90),
        (0.8, {"a": 80, "b": 240}, 0.1),
    ],
)
def test_a_target_takes_the_cheapest_weights(sparsity, removed, loss):
    proposed = BY_HAND.propose(sparsity=sparsity)
    assert proposed.removed == removed
    assert proposed.predicted_loss == pytest.approx(loss, abs=1e-12)
    assert proposed.sparsity == sum(removed.values()) / 400


@pytest.mark.parametrize(
    ("budget", "removed"),
    [
        (0.0, {"a": 0, "b": 0}),
        (0.01, {"a": 0, "b": 75}),
        (0.025, {"a": 25, "b": 150}),
        (0.03, {"a": 50, "b": 150}),
        (0.05, {"a": 50, "b": 195}),
        (1.0, {"a": 80, "b": 240}),
    ],
)
def test_a_budget_buys_the_cheapest_weights(budget, removed):
    assert BY_HAND.propose(accuracy_budget=budget).removed == removed


def test_a_measured_budget_holds_for_all_layers_together():
    asked = []

    def measure(proposal):  # pruned together, the layers lose three times what was predicted
        asked.append(proposal)
        return 0.9 - 3 * proposal.predicted_loss

    # Predicted losses of 0.01 allow a: 0, b: 75 of 400 weights (see above); to half a percent.
    proposed = BY_HAND.propose(accuracy_budget=0.03, measure=measure)
    assert proposed.removed["a"] == 0 and 73 <= proposed.removed["b"] <= 75
    assert asked[0].removed == {"a": 50, "b": 150}  # the prediction is where it begins
    assert proposed in asked and len(asked) <= 9
    assert BY_HAND.propose(accuracy_budget=0.03, measure=lambda _: 0.1).sparsity == 0


def test_a_measured_budget_goes_beyond_the_prediction_where_that_is_too_careful():
    every = BY_HAND.propose(accuracy_budget=0.03, measure=lambda proposal: 0.9)
    assert 320 - 2 <= sum(every.removed.values()) <= 320  # all that was scanned


def test_a_loss_that_falls_again_is_noise_and_a_gain_is_none():
    curve = ((0.5, 0.91), (0.6, 0.88), (0.8, 0.89))  # losses 0, 0.02, 0.02: hull 0, -, 0.02
    found = Sensitivity(0.9, {"a": 10}, {"a": curve})
    assert found.predicted_loss({"a": 5}) == 0
    assert found.predicted_loss({"a": 6}) == pytest.approx(0.02 / 3)
    assert found.predicted_loss({"a": 8}) == pytest.approx(0.02)


def test_layers_that_cost_nothing_take_turns():
    flat = ((0.2, 0.9), (0.4, 0.9))
    found = Sensitivity(0.9, {"a": 100, "b": 100}, {"a": flat, "b": flat})
    assert found.propose(sparsity=0.15).removed == {"a": 20, "b": 10}
    assert found.propose(sparsity=0.25).removed == {"a": 30, "b": 20}


def test_the_sparsities_of_a_proposal_give_its_counts_and_the_last_weight_stays():
    found = Sensitivity(0.9, {"a": 3, "b": 1}, {"a": ((0.99, 0.5),), "b": ((0.99, 0.9),)})
    proposed = found.propose(accuracy_budget=1)
    assert proposed.removed == {"a": 2, "b": 0}
    assert proposed.layer_sparsity == {"a": 2 / 3, "b": 0}


def sensitivities(max_layers=5, max_size=5000):
    sizes = st.integers(1, max_size)
    ladders = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=6, unique=True).map(sorted)

    @st.composite
    def draw(draw):
        ladder = draw(ladders)
        names = [f"layer{i}" for i in range(draw(st.integers(1, max_layers)))]
        accuracy = st.integers(0, 100).map(lambda hits: hits / 100)
        curves = {name: tuple((s, draw(accuracy)) for s in ladder) for name in names}
        return Sensitivity(draw(accuracy), {name: draw(sizes) for name in names}, curves)

    return draw()


def most(found):
    """The largest sparsity that every layer reaches, so that any total up to it is possible."""
    top = min(curve[-1][0] for curve in found.curves.values())
    counts = [min(removed_count(size, top), size - 1) for size in found.sizes.values()]
    return sum(counts) / sum(found.sizes.values())


@given(sensitivities(), st.floats(0, 1), st.floats(0, 1))
def test_any_target_is_met_exactly_and_a_larger_one_prunes_no_layer_less(found, first, second):
    low, high = sorted((first * most(found), second * most(found)))
    less, more = found.propose(sparsity=low), found.propose(sparsity=high)
    total = sum(found.sizes.values())
    for proposed, sparsity in ((less, low), (more, high)):
        assert sum(proposed.removed.values()) == removed_count(total, sparsity)
        for name, size in found.sizes.items():
            assert removed_count(size, proposed.layer_sparsity[name]) == proposed.removed[name]
            assert 0 <= proposed.removed[name] < size
    assert all(less.removed[name] <= more.removed[name] for name in found.sizes)
    assert less.predicted_loss <= more.predicted_loss + 1e-12


@given(sensitivities(), st.floats(0, 2), st.floats(0, 2))
def test_any_budget_is_kept_and_a_larger_one_prunes_no_layer_less(found, first, second):
    low, high = sorted((first, second))
    less, more = (found.propose(accuracy_budget=budget) for budget in (low, high))
    assert less.predicted_loss <= low + 2e-9 and more.predicted_loss <= high + 2e-9
    assert all(less.removed[name] <= more.removed[name] for name in found.sizes)
    # One more weight of any layer would break the budget.
    for name in found.sizes:
        further = {**less.removed, name: less.removed[name] + 1}
        try:
            assert found.predicted_loss(further) > low
        except UsageError:  # this layer is at the end of its curve
            continue


@given(sensitivities(max_layers=3, max_size=9), st.floats(0, 1))
def test_no_other_allocation_of_the_same_total_is_predicted_to_cost_less(found, share):
    proposed = found.propose(sparsity=share * most(found))
    count, best = sum(proposed.removed.values()), float("inf")
    for counts in itertools.product(*(range(size) for size in found.sizes.values())):
        if sum(counts) == count:
            try:
                loss = found.predicted_loss(dict(zip(found.sizes, counts, strict=True)))
            except UsageError:
                continue
            best = min(best, loss)
    assert proposed.predicted_loss == pytest.approx(best, abs=1e-9)


@given(sensitivities(), st.floats(0, 1))
def test_a_proposal_costs_no_more_than_uniform_by_its_own_prediction(found, share):
    top = min(curve[-1][0] for curve in found.curves.values())
    uniform = {name: min(int(share * top * n), n - 1) for name, n in found.sizes.items()}
    total = sum(found.sizes.values())
    proposed = found.propose(sparsity=sum(uniform.values()) / total)
    assert sum(proposed.removed.values()) == sum(uniform.values())
    assert proposed.predicted_loss <= found.predicted_loss(uniform) + 1e-9


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({}, "one of them. Received: accuracy_budget=None, sparsity=None"),
        ({"accuracy_budget": 0.1, "sparsity": 0.5}, "one of them. Received: accuracy_budget=0.1"),
        ({"accuracy_budget": -0.1}, "finite number >= 0. Received: -0.1"),
        ({"accuracy_budget": float("nan")}, "finite number >= 0. Received: nan"),
        ({"sparsity": 1.0}, r"in \[0, 1\)"),
        ({"sparsity": 0.9}, "320 of 400 weights are gone.*removes 360; scan at higher"),
    ],
)
def test_a_target_that_cannot_be_proposed_for_is_refused(target, message):
    with pytest.raises(UsageError, match=message):
        BY_HAND.propose(**target)


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ({"c": 1}, "'c' was not measured; measured: a, b"),
        ({"a": 81}, "up to 80 of its 100 .* Received: 81"),
        ({"a": -1}, "Received: -1"),
    ],
)
def test_a_loss_beyond_the_curves_is_refused(removed, message):
    with pytest.raises(UsageError, match=message):
        BY_HAND.predicted_loss(removed)


@pytest.mark.parametrize("bad", [(), (0.5, 0.5), (0.9, 0.5), (0, 0.5), (0.5, 1), ("half",), 0.5])
def test_a_ladder_must_ascend_within_0_and_1(bad):
    with pytest.raises(UsageError, match=r"must ascend and lie in \(0, 1\)"):
        check_ladder(bad)
    assert check_ladder(LADDER) == LADDER
