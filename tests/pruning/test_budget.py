import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.errors import UsageError
from tfprune.pruning.allocation import Target, allocate
from tfprune.pruning.budget import Budget, layer_bytes, least_removed


def test_bytes_of_a_layer_by_hand():
    assert layer_bytes(100, 100) == 400  # dense: no positions
    assert layer_bytes(100, 0) == 0
    # 8 weights, 4 kept: 4 x 32 bits and 8 x H(1/2) = 8 bits are 136 bits = 17 bytes.
    assert layer_bytes(8, 4) == 17
    # 1000 weights, 100 kept: H(0.1) = 0.46900 bits; 3200 + 469.0 bits are 458.6 bytes.
    assert layer_bytes(1000, 100) == 459
    # 3 weights, 2 kept: 64 + 3 x 0.9183 = 66.8 bits are 9 bytes.
    assert layer_bytes(3, 2) == 9


@given(st.integers(1, 10**7), st.data())
def test_bytes_never_grow_with_a_weight_less_and_never_pass_the_dense_layer(size, data):
    kept = data.draw(st.integers(1, size))
    assert layer_bytes(size, kept - 1) <= layer_bytes(size, kept) <= 4 * size


def budget(limit, beside=0, **layers):
    return Budget("target_bytes", limit, beside, layers)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=4), st.integers(0, 30), st.data())
def test_the_largest_model_that_meets_the_budget(sizes, beside, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    group = {f"l{i}": rng.random(size).astype(np.float32) for i, size in enumerate(sizes)}
    name = data.draw(st.sampled_from(["global", "uniform", "erk", "lamp"]))
    costs = {k: functools.partial(layer_bytes, a.size) for k, a in group.items()}
    total = sum(sizes)

    def cost(count):
        removed = allocate(name, group, group, Target(sparsity=count / total)).removed
        assert sum(removed.values()) == count  # n / N gives n back
        return wanted.cost({k: group[k].size - removed[k] for k in group})

    wanted = budget(0, beside, **costs)
    every = [cost(count) for count in range(total - len(sizes) + 1)]
    wanted = budget(data.draw(st.integers(max(1, min(every) - 3), max(every) + 3)), beside, **costs)
    if every[-1] > wanted.limit:
        with pytest.raises(UsageError, match=f"smallest model .* has {every[-1]}, .*{beside} lie"):
            least_removed(cost, 0, len(every) - 1, wanted)
        return
    found = least_removed(cost, 0, len(every) - 1, wanted)
    assert every[found] <= wanted.limit
    assert found == 0 or every[found - 1] > wanted.limit
    if name in ("global", "lamp"):
        assert found == next(n for n, c in enumerate(every) if c <= wanted.limit)


def test_bisection_asks_for_few_costs():
    asked = []

    def cost(count):
        asked.append(count)
        return 10**6 - count

    assert least_removed(cost, 10, 10**6, budget(300_000)) == 700_000
    assert len(asked) <= 3 + math.log2(10**6)
    assert least_removed(cost, 10, 10**6, budget(10**7)) == 10  # nothing more has to go
