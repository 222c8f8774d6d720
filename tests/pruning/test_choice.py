"""What `prune` is asked for, taken together: units, budgets, prunings again."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pruned import assert_masked, fit, kernel

from tfprune.backend import keras
from tfprune.errors import TfpruneError, UsageError
from tfprune.pruning.allocation import ALLOCATIONS
from tfprune.pruning.budget import layer_bytes
from tfprune.pruning.macs import macs
from tfprune.pruning.pruner import check_prune, get_masks, prune, set_masks

layers = keras.layers
SHARED = [name for name in ALLOCATIONS if name != "explicit"]


def kernel_masks(model):
    return {k: m for k, m in get_masks(model).items() if k.endswith("kernel")}


@pytest.mark.parametrize("allocation", SHARED)
def test_filters_lose_exactly_their_count_with_bias_and_batch_norm(lenet, allocation):
    # 6 + 16 filters: 11 go; what is left of a layer is whole filters.
    pruned = prune(lenet, 0.5, layers="conv", allocation=allocation, granularity="filter")
    masks = get_masks(pruned)
    removed = 0
    for conv, norm in (("conv1", "bn1"), ("conv2", "bn2")):
        mask = masks[f"{conv}/kernel"]
        alive = mask.all(axis=(0, 1, 2))
        np.testing.assert_array_equal(alive, mask.any(axis=(0, 1, 2)))
        for key in (f"{conv}/bias", f"{norm}/gamma", f"{norm}/beta"):
            np.testing.assert_array_equal(masks[key], alive)
        removed += int((~alive).sum())
    assert removed == 11
    assert_masked(pruned, masks)


def test_filters_stay_gone_in_training(lenet):
    pruned = prune(lenet, 0.5, granularity="filter")
    assert_masked(fit(pruned), get_masks(pruned))


def test_neurons_by_layer_and_the_last_one_stays(mlp, caplog):
    pruned = prune(mlp, granularity="filter", layer_sparsity={"fc[12]": 0.5, "fc2": 0.2})
    masks = get_masks(pruned)
    assert masks["fc1/kernel"].all(axis=0).sum() == 3 and masks["fc1/bias"].sum() == 3
    assert masks["fc2/kernel"].all(axis=0).sum() == 4
    mlp.get_layer("fc2").kernel.assign(np.full((6, 5), 1e-3))
    with caplog.at_level("WARNING", logger="absl"):
        last = prune(mlp, 0.8, granularity="filter")  # 9 of 11 neurons
    assert get_masks(last)["fc2/kernel"].sum() == 6  # one neuron of fc2
    assert caplog.text.rstrip().endswith("fc2")
    with pytest.raises(
        UsageError, match=r"a group of 11 weights \(units\) in 2 layers can lose at"
    ):
        prune(mlp, 0.9, granularity="filter")


def test_removed_units_are_not_given_back(mlp):
    pruned = prune(mlp, 0.5, granularity="filter")
    with pytest.raises(UsageError, match=r"'fc1' has lost \d+ of its 6 filters before"):
        prune(pruned, 0.1, granularity="filter")


def test_single_weights_first_then_filters(mlp):
    """A filter that lost some weights is worth less; what it lost stays lost if it stays."""
    mlp.get_layer("fc1").kernel.assign(np.ones((4, 6)))
    holes = np.ones((4, 6), bool)
    holes[1:, 2] = holes[0, 4] = False
    wrapped = prune(mlp, 0.0)
    set_masks(wrapped, {"fc1/kernel": holes})
    mask = get_masks(prune(wrapped, 1 / 6, layers="fc1", granularity="filter"))["fc1/kernel"]
    expected = holes.copy()
    expected[:, 2] = False
    np.testing.assert_array_equal(mask, expected)


@pytest.fixture(scope="module")
def odd_mlp(draw_weights):
    """7 x 9, 9 x 6 and 6 x 2 weights: no block of 2 x 3 or 1 x 4 fits without a rest."""
    widths = {"fc1": 9, "fc2": 6, "out": 2}
    dense = [layers.Dense(width, name=name) for name, width in widths.items()]
    return draw_weights(keras.Sequential([keras.Input((7,)), *dense]))


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(SHARED),
    st.sampled_from([(9, 1), (2, 3), (1, 4), (3, 1)]),
    st.floats(0, 0.7),
)
def test_any_unit_goes_as_a_whole_and_counts(odd_mlp, allocation, block, sparsity):
    granularity = "filter" if block == (9, 1) else block
    pruned = prune(odd_mlp, sparsity, allocation=allocation, granularity=granularity)
    total = removed = 0
    for mask in kernel_masks(pruned).values():
        corners = [range(0, size, step) for size, step in zip(mask.shape, block, strict=True)]
        for i, j in itertools.product(*corners):
            unit = mask[i : i + block[0], j : j + block[1]]
            assert unit.all() == unit.any()
            total += 1
            removed += not unit.any()
    assert removed == int(np.floor(sparsity * total + 0.5))


def test_two_of_four_along_the_inputs(lenet):
    pruned = prune(lenet, granularity="2:4")
    masks = get_masks(pruned)
    conv2 = masks["conv2/kernel"]  # (5, 5, 6, 16): runs of 4 and of 2 inputs
    assert (conv2[:, :, :4].sum(axis=2) == 2).all() and conv2[:, :, 4:].all()
    assert masks["conv1/kernel"].all()  # one input: a run of one keeps it
    kept = masks["fc1/kernel"].reshape(-1, 4, 12)
    assert (kept.sum(axis=1) == 2).all()
    magnitudes = np.abs(kernel(lenet, "fc1")).reshape(-1, 4, 12)
    lowest_kept = np.where(kept, magnitudes, np.inf).min(axis=1)
    assert (lowest_kept >= np.where(kept, 0, magnitudes).max(axis=1)).all()
    assert_masked(pruned, masks)
    again = prune(pruned, 0.5, granularity="2:4", in_place=True)  # the sparsity it implies
    for key, mask in get_masks(again).items():
        np.testing.assert_array_equal(mask, masks[key])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 0.6}, "'2:4' implies sparsity 0.5 .*Received: sparsity=0.6"),
        ({"allocation": "erk"}, "Received: allocation='erk'"),
        ({"target_bytes": 100}, "Received: target_bytes=100"),
        ({"criterion_rounds": 3}, "Received: criterion_rounds=3"),
        ({"layer_sparsity": {"fc1": 0.5}}, "Received: layer_sparsity={'fc1': 0.5}, alloc"),
    ],
)
def test_n_of_m_takes_no_other_target(mlp, options, message):
    with pytest.raises(UsageError, match=message):
        prune(mlp, granularity="2:4", **options)


def test_n_of_m_refuses_scores_that_are_nan(mlp):
    mlp.get_layer("fc2").kernel.assign(np.full((6, 5), np.nan))
    with pytest.raises(TfpruneError, match="layer 'fc2' cannot be ranked: 30 of 30"):
        prune(mlp, granularity="2:4")


def test_n_of_m_and_filters_need_kernels_that_have_them():
    words = keras.Input((4,), dtype="int32")
    x = layers.Flatten()(layers.Embedding(5, 3, name="words")(words))
    model = keras.Model(words, layers.Dense(2, name="out")(x))
    with pytest.raises(UsageError, match=r"embeddings and depthwise .*layer 'words'"):
        prune(model, granularity="2:4", layers="words")
    with pytest.raises(UsageError, match=r"units can be told.*layer 'words'"):
        prune(model, 0.5, granularity="filter", layers="words")
    by_row = get_masks(prune(model, 0.4, granularity="block1x3", layers="words"))
    assert sorted(by_row["words/embeddings"].sum(axis=1)) == [0, 0, 3, 3, 3]


def removed_units(model, granularity):
    """(removed, all) weights, or units of whole columns or of 1 x 4."""
    removed = total = 0
    for mask in kernel_masks(model).values():
        flat = mask.reshape(-1, mask.shape[-1])
        if granularity == "filter":
            alive = flat.any(axis=0)
        elif granularity == "block1x4":
            alive = np.logical_or.reduceat(flat, range(0, flat.shape[1], 4), axis=1)
        else:
            alive = flat
        removed, total = removed + int((~alive).sum()), total + alive.size
    return removed, total


def size_of(model, dense):
    """Bytes by the documented formula, from masks."""
    masks = kernel_masks(model).values()
    others = sum(w.size for w in dense.get_weights()) - sum(mask.size for mask in masks)
    return 4 * others + sum(layer_bytes(mask.size, int(mask.sum())) for mask in masks)


def macs_of(model, dense):
    return sum(kept for _, kept in macs(model).values())


@pytest.mark.parametrize("granularity", ["weight", "filter", "block1x4"])
@pytest.mark.parametrize("budget", ["target_bytes", "target_macs"])
@pytest.mark.parametrize("allocation", ["global", "erk", "lamp", "stddev"])
def test_the_budget_is_met_and_not_with_one_unit_more(lenet, allocation, budget, granularity):
    cost = size_of if budget == "target_bytes" else macs_of
    options = {"allocation": allocation, "granularity": granularity}
    limit = int(0.4 * cost(prune(lenet, 0.0), lenet))
    found = prune(lenet, **{budget: limit}, **options)
    assert cost(found, lenet) <= limit
    count, total = removed_units(found, granularity)
    more = prune(lenet, (count - 1) / total, **options)
    assert removed_units(more, granularity)[0] == count - 1
    assert cost(more, lenet) > limit
    same = get_masks(prune(lenet, count / total, **options))
    for key, mask in get_masks(found).items():
        np.testing.assert_array_equal(mask, same[key])


def test_a_budget_counts_what_other_groups_lost_and_takes_nothing_where_it_is_met(lenet):
    convs = prune(lenet, 0.9, layers="conv")
    limit = size_of(convs, lenet) - 1000
    both = prune(convs, target_bytes=limit, layers="fc")
    assert 0.99 * limit < size_of(both, lenet) <= limit
    assert kernel_masks(both)["conv1/kernel"].sum() == kernel_masks(convs)["conv1/kernel"].sum()
    again = prune(both, target_bytes=limit, layers="fc")
    for key, mask in get_masks(both).items():
        np.testing.assert_array_equal(get_masks(again)[key], mask)
    for budget in ({"target_bytes": 10**9}, {"target_macs": 10**9}):
        assert all(mask.all() for mask in get_masks(prune(lenet, **budget)).values())


def test_a_budget_goes_with_a_criterion_in_rounds(mlp):
    cost = size_of(prune(mlp, 0.0), mlp)
    found = prune(mlp, target_bytes=cost // 2, criterion="synflow", criterion_rounds=5)
    assert 0.9 * (cost // 2) < size_of(found, mlp) <= cost // 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_bytes": 5}, r"smallest model .* has 102, of which 92 lie outside .*Received: 5"),
        ({"target_macs": 11}, "smallest model .* has 12, of which 10 lie outside .*Received: 11"),
        ({"target_bytes": 0}, "target_bytes must be a whole number >= 1. Received: 0"),
        ({"target_macs": 1.5}, "target_macs must be a whole number >= 1. Received: 1.5"),
        ({"target_bytes": 9, "sparsity": 0.5}, "stands alone. Received: sparsity=0.5, target_b"),
        ({"target_bytes": 9, "target_macs": 9}, "Received: target_bytes=9, target_macs=9"),
        ({"target_bytes": 9, "allocation": "explicit"}, "allocation='explicit'"),
        ({"target_bytes": 9, "allocation": "stddev", "quality": 1.0}, "Received: quality=1.0"),
    ],
)
def test_budgets_that_cannot_be_met_or_used(mlp, options, message):
    with pytest.raises(UsageError, match=message):
        prune(mlp, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "taste"}, "criterion must be one of magnitude, rate, random, snip, synflow"),
        ({"criterion_rounds": 0}, "criterion_rounds must be a whole number >= 1. Received: 0"),
        ({"granularity": "rows"}, "granularity must be one of weight, filter.*Received: 'rows'"),
        ({"granularity": "block1x4", "allocation": "best"}, "allocation must be one of"),
    ],
)
def test_words_that_are_not_known_are_refused_with_those_that_are(mlp, options, message):
    with pytest.raises(UsageError, match=message):
        prune(mlp, 0.5, **options)


def refusal(function, *arguments, **options):
    """What a call is refused with; None where it is not."""
    try:
        function(*arguments, **options)
    except UsageError as error:
        return str(error)
    return None


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SHARED),
    st.sampled_from(["weight", "filter", (2, 3)]),
    st.sampled_from([0, 0.3, 0.6]),
    st.floats(0, 1, exclude_max=True),
)
def test_the_check_refuses_the_sparsities_that_prune_refuses(
    odd_mlp, allocation, granularity, before, sparsity
):
    model = prune(odd_mlp, before, granularity=granularity) if before else odd_mlp
    weights = model.get_weights()
    options = {"allocation": allocation, "granularity": granularity}
    checked = refusal(check_prune, model, sparsity, **options)
    for left, right in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert checked == refusal(prune, model, sparsity, **options)


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"target_bytes": 101}, "smallest model .* has 102"),
        ({"target_bytes": 102, "allocation": "lamp"}, None),
        ({"target_bytes": 136, "granularity": "filter"}, "smallest model .* has 137"),
        ({"target_macs": 11, "criterion": "synflow"}, "smallest model .* has 12"),
        ({"target_macs": 12}, None),
        ({"layer_sparsity": {"fc1": 0.9}}, None),
        ({"layer_sparsity": {"fc1": 0.9}, "layers": "fc"}, "lacks layers of the group: fc2"),
        ({"layer_sparsity": {"fc[12]": 0.98}}, "'fc1' has 24 weights and must keep one"),
        ({"allocation": "stddev", "quality": 9.0}, None),
        ({"granularity": "2:4"}, None),
        ({"granularity": "2:4", "sparsity": 0.6}, "implies sparsity 0.5"),
        ({"sparsity": 0.5, "criterion": "snip", "criterion_rounds": 0}, "a whole number >= 1"),
        ({"sparsity": 0.5, "layers": "fc9"}, "no layer called 'fc9'"),
        ({"sparsity": 0.5, "criterion": "taste"}, "criterion must be one of"),
    ],
)
def test_the_check_refuses_what_prune_refuses_in_the_same_words(mlp, options, refused):
    checked = refusal(check_prune, mlp, **options)
    assert checked == refusal(prune, mlp, **options)
    assert (checked is None) if refused is None else re.search(refused, checked)


def test_the_check_refuses_layers_without_flow_and_needs_no_data():
    ends = [layers.Flatten(), layers.LayerNormalization(name="norm"), layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="fc1"), *ends])
    with pytest.raises(UsageError, match="'norm' of type LayerNormalization"):
        check_prune(model, 0.5, criterion="synflow")
    check_prune(model, 0.5, criterion="snip")


@pytest.fixture(scope="module")
def small_dense():
    """Networks of two and of three dense layers, of 12 + 8 and of 6 + 9 + 6 weights."""
    return [
        keras.Sequential([keras.Input((first,)), *(layers.Dense(width) for width in widths)])
        for first, *widths in ((3, 4, 2), (2, 3, 3, 2))
    ]


def masks_by_sorting(kernels, count):
    """The masks by the rule in words: the lowest of a sorted list, no layer's last weight."""
    ranked = sorted(
        (abs(weight), number, place)
        for number, kernel in enumerate(kernels)
        for place, weight in enumerate(kernel.ravel().tolist())
    )
    lasts = {entry[1]: entry for entry in ranked}  # of each layer the one that comes last
    gone = [entry for entry in ranked if entry != lasts[entry[1]]][:count]
    masks = [np.ones(kernel.shape, bool) for kernel in kernels]
    for _, number, place in gone:
        masks[number].ravel()[place] = False
    return masks


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_ties_go_in_model_order_and_what_went_counts_in_the_next_pruning(small_dense, data):
    model = small_dense[data.draw(st.integers(0, 1))]
    kernels = []
    for layer in model.layers:
        shape = tuple(layer.kernel.shape)
        size = int(np.prod(shape))
        weights = data.draw(st.lists(st.integers(-2, 2), min_size=size, max_size=size))
        kernels.append(np.array(weights, np.float32).reshape(shape))
        layer.kernel.assign(kernels[-1])
    names = [layer.name for layer in model.layers]
    total = sum(kernel.size for kernel in kernels)
    early, late = sorted(data.draw(st.integers(0, total - len(kernels))) for _ in range(2))
    pruned, lost = model, [np.zeros(kernel.shape, bool) for kernel in kernels]
    for count in (early, late):
        pruned = prune(pruned, count / total, layers=names)
        found = list(kernel_masks(pruned).values())
        for mask, wanted in zip(found, masks_by_sorting(kernels, count), strict=True):
            np.testing.assert_array_equal(mask, wanted)
        assert sum(int((~mask).sum()) for mask in found) == count
        assert not any((mask & gone).any() for mask, gone in zip(found, lost, strict=True))
        lost = [~mask for mask in found]


def test_gradual_pruning_in_place_never_asks_back_under_any_allocation(odd_mlp):
    for allocation in SHARED:
        model = prune(odd_mlp, 0.0)
        before = get_masks(model)
        for count in range(1, 100, 3):
            prune(model, count / 117, allocation=allocation, in_place=True)
            after = get_masks(model)
            assert not any((after[key] & ~before[key]).any() for key in before)
            before = after
