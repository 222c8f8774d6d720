"""Relative indices, as in figure 2 of Deep Compression."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfprune.compression.relative_index import from_gaps, to_gaps


def test_the_example_of_the_paper():
    # Kept at 1, 4 and 15 counting from 1; 3-bit gaps reach 8, so 11 is 8 and 3.
    gaps, is_kept = to_gaps(np.array([0, 3, 14]), 3)
    assert gaps.tolist() == [1, 3, 8, 3]
    assert is_kept.tolist() == [True, True, False, True]
    assert from_gaps(gaps, is_kept).tolist() == [0, 3, 14]


def test_edges_of_a_gap():
    # A gap of exactly 2^bits needs no padding, one more needs one.
    assert to_gaps(np.array([3]), 2)[0].tolist() == [4]
    assert to_gaps(np.array([4]), 2)[0].tolist() == [4, 1]
    assert to_gaps(np.array([11]), 2)[0].tolist() == [4, 4, 4]
    assert [array.tolist() for array in to_gaps(np.zeros(0, int), 5)] == [[], []]


@given(st.sets(st.integers(0, 2000)), st.integers(1, 9))
def test_round_trip(positions, bits):
    ordered = np.array(sorted(positions), np.int64)
    gaps, is_kept = to_gaps(ordered, bits)
    assert ((gaps >= 1) & (gaps <= 2**bits)).all() and (gaps[~is_kept] == 2**bits).all()
    assert np.array_equal(from_gaps(gaps, is_kept), ordered)
