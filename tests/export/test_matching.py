"""Which array belongs to which mask."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.export.flatbuffer import Kernel, Vector
from tfprune.export.matching import count_came_back, match_kernels, match_stored
from tfprune.export.stored import StoredWeight

EVEN = np.array([[True, False], [False, True]])
ODD = ~EVEN


def stored(
    layer: str, values: np.ndarray, variable: str = "kernel", group: str = ""
) -> StoredWeight:
    return StoredWeight(layer, variable, values, group)


def kernel(name: str, values: np.ndarray, *vectors: Vector) -> Kernel:
    return Kernel(name, (name,), values, vectors)


def test_what_is_not_zero_came_back() -> None:
    values = np.array([[1.0, np.nan], [-0.0, 2.0]])
    assert count_came_back(EVEN, values) == 1  # the NaN; -0.0 is zero
    assert count_came_back(ODD, values) == 2


def test_names_are_stronger_than_values() -> None:
    # The values say the opposite, and the audit has to hear of it.
    masks = {"a/kernel": EVEN, "b/kernel": ODD}
    found = match_stored(masks, [stored("b", EVEN * 1.0), stored("a", ODD * 1.0)])
    assert count_came_back(EVEN, found["a/kernel"][0]) == 2
    assert count_came_back(ODD, found["b/kernel"][0]) == 2


def test_without_names_the_zeros_decide() -> None:
    masks = {"a/kernel": EVEN, "b/kernel": ODD}
    found = match_stored(masks, [stored("", ODD * 1.0, "", "1"), stored("", EVEN * 1.0, "", "2")])
    assert all(count_came_back(masks[key], found[key][0]) == 0 for key in masks)


def test_a_layer_without_a_name_is_taken_as_a_whole() -> None:
    # The bias of the second layer would do as well, were it not for the kernel beside it.
    masks = {"a/kernel": EVEN, "a/bias": EVEN[0]}
    arrays = [
        stored("", EVEN * 1.0, "", "1"),
        stored("", np.ones(2), "bias", "1"),
        stored("", np.ones((2, 2)), "", "2"),
        stored("", np.zeros(2), "bias", "2"),
    ]
    found = match_stored(masks, arrays)
    assert count_came_back(EVEN, found["a/kernel"][0]) == 0
    assert count_came_back(EVEN[0], found["a/bias"][0]) == 1


def test_names_may_leave_out_outer_models_or_add_the_whole_one() -> None:
    masks = {"block/conv/kernel": EVEN, "fc/kernel": ODD}
    arrays = [stored("Adam/m/fc", EVEN * 1.0), stored("model/fc", ODD * 1.0)]
    found = match_stored(masks, [stored("conv", EVEN * 1.0), *arrays])
    assert len(found["block/conv/kernel"]) == 1
    # Two names that say as much: neither is left unchecked.
    assert len(found["fc/kernel"]) == 2


def test_all_copies_under_one_name_are_checked() -> None:
    found = match_stored({"a/kernel": EVEN}, [stored("a", EVEN * 1.0), stored("a", ODD * 1.0)])
    assert len(found["a/kernel"]) == 2


def test_what_is_not_there_is_not_found() -> None:
    masks = {"a/kernel": EVEN, "b/kernel": EVEN, "a/bias": np.ones(2, bool)}
    found = match_stored(masks, [stored("a", EVEN * 1.0), stored("c", EVEN * 1.0)])
    assert [key for key in masks if not found[key]] == ["b/kernel", "a/bias"]
    assert match_kernels(masks, [])["a/kernel"] == []


def test_numbers_that_make_scopes_unique_are_seen_through() -> None:
    masks = {"conv/kernel": EVEN, "conv_1/kernel": ODD}
    kernels = [kernel("m_1/conv_1/Conv", EVEN * 1.0), kernel("m_1/conv_1_1/Conv", ODD * 1.0)]
    for some in (masks, {"conv/kernel": EVEN}, {"conv_1/kernel": ODD}):
        found = match_kernels(some, kernels)
        assert all(count_came_back(some[key], found[key][0]) == 0 for key in some)


def test_bias_and_batch_norm_are_found_behind_the_kernel() -> None:
    bias, gamma, beta = np.array([1, 0]), np.array([2, 0]), np.array([3, 0])
    add, mul, shift = Vector("ADD", bias), Vector("MUL", gamma), Vector("ADD", beta)
    masks = {"a/kernel": EVEN, "a/bias": EVEN[0], "bn/gamma": EVEN[0], "bn/beta": EVEN[0]}
    names = ("a/bias", "bn/gamma", "bn/beta")
    nothing = np.zeros(2)
    for vectors, expected in (
        ((add, mul, shift), (bias, gamma, beta)),
        ((add,), (bias, bias, bias)),  # folded
        ((mul, shift), (nothing, gamma, beta)),  # no bias
        ((), (nothing, nothing, nothing)),
    ):
        found = match_kernels(masks, [kernel("a/Conv", EVEN * 1.0, *vectors)])
        for name, values in zip(names, expected, strict=True):
            np.testing.assert_array_equal(found[name][0], values)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
@settings(max_examples=50, deadline=None)
def test_axes_may_be_merged_and_not_exchanged(shape: list[int], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(shape)))
    merged = (int(np.prod(shape[:cut])), int(np.prod(shape[cut:])))
    mask = np.ones(shape, bool)
    assert match_stored({"a/kernel": mask}, [stored("a", np.ones(merged))])["a/kernel"]
    exchanged = tuple(size for size in reversed(shape) if size > 1)
    if exchanged != tuple(size for size in shape if size > 1):
        assert not match_stored({"a/kernel": mask}, [stored("a", np.ones(exchanged))])["a/kernel"]
