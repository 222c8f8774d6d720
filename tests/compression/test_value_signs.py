"""Signs nearby: where the places are, classes by hand, and codes that know them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.compression.byte_reader import ByteReader
from tfprune.compression.context import decode, encode
from tfprune.compression.tensor import SparseTensor
from tfprune.compression.value_signs import ValueSigns, distances


@pytest.mark.parametrize(
    ("shape", "lag", "expected"),
    [
        ((3, 5, 20, 50), 0, (20, 100)),  # the tap to the left, the tap above
        ((3, 1, 20, 50), 0, (20,)),
        ((1, 5, 20, 50), 0, (20,)),
        ((1, 1, 20, 50), 0, ()),
        ((7, 16, 32), 0, (16,)),
        ((2, 3, 4, 5, 6), 0, (5, 20, 60)),
        ((3, 3, 20, 50), 28, (20, 60)),  # the lag is of matrices alone
        ((784, 300), 28, (1, 27, 28, 29)),
        ((784, 300), 1, (1, 2)),
        ((784, 300), 0, ()),
        ((10,), 0, ()),
        ((1 << 17, 1, 2), 0, (1,)),  # each tap takes a step in Python
        (((1 << 17) + 1, 1, 2), 0, ()),
    ],
)
def test_the_places_of_a_shape(shape, lag, expected):
    assert distances(shape, lag) == expected


def test_classes_by_hand():
    # A column of six rows and one of the signs + - . + + -, compared with 2 and 3 rows before.
    positions = np.array([0, 2, 3, 6, 7, 8, 10])  # columns 0 and 1 in turn
    above = np.array([1, 0, 1, 1, 0, 1, 0], bool)
    # Column 0: rows 0 +, 1 -, 3 +, 4 +, 5 -; column 1: rows 1 +, 3 -.
    signs = ValueSigns(positions, (6, 2), (2, 3))
    blocks = list(signs.blocks())
    assert blocks == [slice(0, 3), slice(3, 5), slice(5, 7)]
    found = []
    for block in blocks:
        found += signs.classes(block).tolist()
        signs.learn(block, above[block])
    # Row 3: column 0 has rows 1 (-) and 0 (+): 0; column 1 row 1 (+). Row 4: column 0 has 2 (no
    # weight) and 1 (-). Row 5: column 0 has 3 (+) and 2.
    assert found == [1, 1, 1, 1, 2, 0, 2]
    # Known all at once, they are the same.
    assert signs.classes(slice(0, 7)).tolist() == found


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(3, 3, 4, 10), (5, 2, 3), (2, 2, 2, 2, 3), (64, 40), (1, 7, 9, 2)]),
    density=st.sampled_from([0.02, 0.3, 1.0]),
    shared=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_round_trip(seed, shape, density, shared):
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1, 1], shape[-2:])  # what a place has in common with the one before
    array = (sign * rng.gamma(2, 1, shape) * (rng.random(shape) < density)).astype(np.float32)
    if shared:
        array = np.sign(array) * np.ceil(np.abs(array)) / np.float32(4)
    tensor = SparseTensor.from_array(array)
    back = decode(ByteReader(encode(tensor), "code"), shape)
    assert back.to_array().tobytes() == (array + np.float32(0)).tobytes()


def drawn(agree, seed=0):
    """A kernel of 3 x 3 taps that keeps a tenth, the taps of a filter of one sign or any."""
    rng = np.random.default_rng(seed)
    shape = (3, 3, 64, 128)
    sign = rng.choice([-1, 1], shape[2:] if agree else shape)
    size = rng.integers(1, 5, shape)
    return (sign * size * (rng.random(shape) < 0.2) / 4).astype(np.float32)


def test_signs_in_common_are_not_coded_twice():
    # 0.2 of the weights kept: 1.6 of the eight other taps. Of the two before, 0.36 have a kept
    # one among them where both exist, 0.2 where one does: (4 x 0.36 + 4 x 0.2) / 9 = 0.25 bits
    # saved for each of 14,746 weights, 459 bytes.
    apart, common = (len(encode(SparseTensor.from_array(drawn(agree)))) for agree in (False, True))
    assert apart - common > 400


def test_larger_values_where_more_is_kept_are_coded_so():
    rng = np.random.default_rng(0)
    density = np.where(np.arange(500) % 5, 0.1, 0.4)  # half of the weights in rows of each
    kept = rng.random((500, 300)) < density[:, None]
    # 1 ... 4 in sparse rows, 5 ... 8 in others: a bit of three that positions tell.
    size = rng.integers(1, 5, kept.shape) + np.where(density > 0.2, 4, 0)[:, None]
    mixed = size.copy()
    mixed[kept] = rng.permutation(size[kept])
    told, untold = (
        len(encode(SparseTensor.from_array((kept * values / 8).astype(np.float32))))
        for values in (size, mixed)
    )
    assert untold - told > 0.9 * np.count_nonzero(kept) / 8
