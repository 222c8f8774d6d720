import numpy as np
import pytest
from golden import FILTER_L1, FILTERS, NEURONS, wave
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tfprune.errors import UsageError
from tfprune.pruning.granularity import (
    Granularity,
    Units,
    input_axis,
    keep_n_of_m,
    parse_granularity,
)
from tfprune.pruning.masks import keep_largest

FILTER = Granularity("filter")


def blocks(rows, columns, shape):
    return Units(Granularity("block", (rows, columns)), shape, None, "layer")


@pytest.mark.parametrize(
    ("text", "kind", "sizes"),
    [
        ("weight", "weight", (1, 1)),
        ("filter", "filter", (1, 1)),
        ("block1x4", "block", (1, 4)),
        ((16, 1), "block", (16, 1)),
        ("2:4", "n:m", (2, 4)),
        ("1:16", "n:m", (1, 16)),
    ],
)
def test_what_a_user_can_write(text, kind, sizes):
    assert parse_granularity(text) == Granularity(kind, sizes)


@pytest.mark.parametrize(
    "text", ["filters", "", None, 4, "block0x4", "block4", "4:4", "0:4", "5:4", (1,), (0, 4), "1x4"]
)
def test_what_is_no_granularity_is_refused_with_what_is(text):
    with pytest.raises(UsageError, match=r"weight, filter, blockRxC .* N:M .*Received: "):
        parse_granularity(text)


def test_filters_agree_with_torch():
    kernel = np.abs(wave((3, 3, 2, 5), 0.7))
    units = Units(FILTER, kernel.shape, (-1,), "conv")
    scores = units.scores(kernel, None)
    np.testing.assert_allclose(scores.ravel() * 18, FILTER_L1, rtol=1e-6)  # mean, not sum
    mask = units.spread(keep_largest(scores, 2))
    np.testing.assert_array_equal(mask, np.broadcast_to(np.array(FILTERS, bool), kernel.shape))
    dense = np.abs(wave((4, 6), 1.0))
    units = Units(FILTER, dense.shape, (-1,), "fc")
    mask = units.spread(keep_largest(units.scores(dense, None), 3))
    np.testing.assert_array_equal(mask, np.broadcast_to(np.array(NEURONS, bool), (4, 6)))


def test_blocks_golden():
    # Blocks of 1 x 2 of a 2 x 5 kernel; the last of each row is one weight wide.
    kernel = np.array([[1, 3, 5, 5, 9], [2, 2, 1, 0, 4]], np.float32)
    units = blocks(1, 2, kernel.shape)
    np.testing.assert_array_equal(units.scores(kernel, None), [[2, 5, 9], [2, 0.5, 4]])
    np.testing.assert_array_equal(units.weights_in(None), [[2, 2, 1], [2, 2, 1]])
    kept = np.array([[False, True, True], [True, False, True]])
    np.testing.assert_array_equal(units.spread(kept), [[0, 0, 1, 1, 1], [1, 1, 0, 0, 1]])


def test_blocks_of_a_convolution_lie_at_one_pixel():
    units = blocks(2, 3, (3, 3, 4, 6))
    assert units.weights_in(None).shape == (3, 3, 2, 2)
    flags = np.zeros((3, 3, 2, 2), bool)
    flags[1, 2, 0, 1] = True
    expected = np.zeros((3, 3, 4, 6), bool)
    expected[1, 2, :2, 3:] = True
    np.testing.assert_array_equal(units.spread(flags), expected)


def test_removed_weights_count_zero_and_an_empty_unit_minus_infinity():
    kernel = np.array([[4, 4, 7, 7]], np.float32)
    mask = np.array([[True, False, False, False]])
    np.testing.assert_array_equal(blocks(1, 2, (1, 4)).scores(kernel, mask), [[2, -np.inf]])


@given(
    arrays(
        np.float32, array_shapes(min_dims=2, max_dims=4, max_side=7), elements=st.integers(0, 9)
    ),
    st.integers(1, 5),
    st.integers(1, 5),
    st.booleans(),
)
def test_units_tile_the_kernel(kernel, rows, columns, filters):
    units = (
        Units(FILTER, kernel.shape, (-1,), "layer")
        if filters
        else blocks(rows, columns, kernel.shape)
    )
    sizes = units.weights_in(None)
    assert sizes.sum() == kernel.size
    for index in np.ndindex(sizes.shape):
        only = np.zeros(sizes.shape, bool)
        only[index] = True
        mask = units.spread(only)
        assert mask.shape == kernel.shape and mask.sum() == sizes[index]
        assert units.scores(kernel, None)[index] == pytest.approx(kernel[mask].mean(), abs=1e-5)
        assert units.weights_in(mask)[index] == sizes[index]


def test_two_of_four_golden():
    # One column of 7 inputs: the best two of 3 1 2 2 (the lower index of equals goes first),
    # and the ragged end of three keeps two.
    scores = np.array([3, 1, 2, 2, 5, 7, 6], np.float32)
    expected = np.array([1, 0, 0, 1, 0, 1, 1], bool)
    np.testing.assert_array_equal(keep_n_of_m(scores[:, None], 2, 4, 0), expected[:, None])
    np.testing.assert_array_equal(keep_n_of_m(scores[None], 2, 4, -1), expected[None])
    scores[5] = -np.inf  # removed before
    np.testing.assert_array_equal(keep_n_of_m(scores, 2, 4, 0), [1, 0, 0, 1, 1, 0, 1])
    scores[4:6] = -np.inf
    np.testing.assert_array_equal(keep_n_of_m(scores, 2, 4, 0), [1, 0, 0, 1, 0, 0, 1])


@given(
    arrays(np.float32, array_shapes(max_dims=4, max_side=9), elements=st.integers(0, 5)),
    st.integers(2, 6),
    st.data(),
)
def test_every_run_keeps_its_highest(scores, m, data):
    n = data.draw(st.integers(1, m - 1))
    axis = data.draw(st.integers(0, scores.ndim - 1))
    mask = np.moveaxis(keep_n_of_m(scores, n, m, axis), axis, 0)
    values = np.moveaxis(scores, axis, 0)
    for start in range(0, len(values), m):
        run, kept = values[start : start + m], mask[start : start + m]
        assert (kept.sum(axis=0) == min(n, len(run))).all()
        lowest_kept = np.where(kept, run, np.inf).min(axis=0)
        assert (np.where(kept, -np.inf, run).max(axis=0) <= lowest_kept).all()


def test_the_inputs_of_a_kernel():
    assert input_axis((5, 7), (-1,)) == 0  # dense
    assert input_axis((3, 3, 5, 7), (-1,)) == 2  # convolution
    assert input_axis((3, 3, 7, 5), (-2,)) == 3  # transposed
    assert input_axis((5, 7), None) == 0  # a custom layer's


def test_kernels_without_such_units():
    with pytest.raises(UsageError, match=r"'filter' needs .*Received: layer 'words'"):
        Units(FILTER, (10, 4), None, "words")
    with pytest.raises(UsageError, match=r"two or more axes. Received: layer 'scale' .*\(4,\)"):
        Units(Granularity("block", (1, 4)), (4,), None, "scale")
