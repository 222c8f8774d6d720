"""Positions by their neighbours: exact for any mask, short where rows have an order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.compression.byte_reader import ByteReader, number_bytes
from tfprune.compression.context import decode, encode
from tfprune.compression.neighbours import (
    _Rows,
    best_lag,
    decode_neighbours,
    encode_neighbours,
    is_possible,
)
from tfprune.compression.range_coder import RangeDecoder, RangeEncoder
from tfprune.compression.significance import best_mode
from tfprune.compression.tensor import SparseTensor
from tfprune.errors import TfpruneError


def image_mask(side, neurons, seed=0):
    """Each neuron keeps weights in a spot of an image of `side` x `side` pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side].reshape(2, -1, 1)
    centre_y, centre_x = rng.uniform(0, side, (2, 1, neurons))
    near = np.exp(-((y - centre_y) ** 2 + (x - centre_x) ** 2) / 8)
    return rng.random(near.shape) < 0.5 * near


def coded(mask, lag):
    encoder = RangeEncoder()
    encode_neighbours(encoder, np.flatnonzero(mask), mask.shape, lag)
    return encoder.to_bytes()


def decoded(code, mask, lag):
    reader = ByteReader(code, "code")
    kept = int(np.count_nonzero(mask))
    return decode_neighbours(RangeDecoder(reader), reader, kept, mask.shape, lag)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 60),
    columns=st.integers(32, 70),
    density=st.sampled_from([0.01, 0.1, 0.5, 0.95]),
    lag=st.integers(1, 60),
)
@settings(max_examples=80, deadline=None)
def test_round_trip(seed, rows, columns, density, lag):
    mask = np.random.default_rng(seed).random((rows, columns)) < density
    mask[0, 0], mask[-1, -1] = True, False
    lag = min(lag, rows)
    assert np.array_equal(decoded(coded(mask, lag), mask, lag), np.flatnonzero(mask))


def test_the_chances_by_hand():
    # 3 rows of 32, 24 weights kept: f = 1/4, so that a context begins with 4 of either kind.
    mask = np.zeros((3, 32), bool)
    mask[0, :16] = True
    mask[1, :8] = True
    model = _Rows(mask, 24, 1)
    # No row before: n + 1 = 1 of r f + 1 = 1 is class 2 of the columns, no flag near.
    assert model.chances(0).tolist() == [1 << 19] * 32
    model.learn(0)
    # 16 of 32 against 8 expected, (16.5 / 8.5) is more than 1.41: a row class of its own.
    assert model.chances(1).tolist() == [1 << 19] * 32
    model.learn(1)
    # The mean of 16 and 8 is 12, 12.5 / 8.5 = 1.47: the same class. In row 1 the first 16 had
    # n + 1 = 2 of 1.25, class 3, a kept flag above and kept 8 of 16; the rest had 1 of 1.25,
    # class 2, none above, and kept none of 16. Now columns 0-7 have 3 of 1.5 and a flag above,
    # class 3; 8-15 2 of 1.5 (1.33, class 2), none above; the rest 1 of 1.5 (0.67, class 1).
    found = model.chances(2)
    assert found[0] == (84 << 20) // 168
    assert found[8] == (4 << 20) // 168
    assert found[31] == 1 << 19
    assert len(set(found[:8])) == len(set(found[8:16])) == len(set(found[16:])) == 1


def test_it_finds_how_far_rows_of_an_image_are_apart():
    mask = image_mask(20, 64)
    positions = np.flatnonzero(mask)
    lag, bits = best_lag(positions, mask.shape)
    assert lag == 20
    code = coded(mask, lag)
    assert abs(8 * len(code) - bits) < 64
    assert bits < 0.9 * best_mode(positions, mask.shape)[1]
    tensor = SparseTensor.from_array(np.where(mask, np.float32(0.5), np.float32(0)))
    whole = encode(tensor)
    assert len(whole) < len(code) + 40
    assert np.array_equal(decode(ByteReader(whole, "x"), mask.shape).to_array(), tensor.to_array())


def test_a_mask_without_order_is_left_to_the_others():
    mask = np.random.default_rng(0).random((200, 100)) < 0.1
    tensor = SparseTensor.from_array(mask.astype(np.float32))
    whole = encode(tensor)
    head = number_bytes(tensor.kept) + number_bytes(1) + np.ones(1, "<f4").tobytes()
    assert whole.startswith(head) and not whole[len(head)] & 64


def test_counts_that_grow_are_halved(monkeypatch):
    monkeypatch.setattr("tfprune.compression.neighbours._LIMIT", 500)
    mask = image_mask(12, 40)
    assert np.array_equal(decoded(coded(mask, 12), mask, 12), np.flatnonzero(mask))


def test_what_cannot_be_is_refused():
    assert is_possible((1, 32)) and not is_possible((100, 31)) and not is_possible((2**20, 64))
    mask = image_mask(8, 40)
    reader = ByteReader(coded(mask, 8), "code")
    with pytest.raises(TfpruneError, match=r"weights where \d+ are claimed|that cannot be"):
        decode_neighbours(RangeDecoder(reader), reader, np.count_nonzero(mask) + 9, mask.shape, 8)
    kept = number_bytes(100) + number_bytes(1) + np.ones(1, "<f4").tobytes()
    for contexts, lag, shape, message in (
        (64, 0, (64, 40), "a lag of 0"),
        (64, 65, (64, 40), "claims 65 where at most 64"),
        (65, 1, (64, 40), "contexts 65 that do not exist"),
        (64, 1, (80, 31), "contexts 64 that do not exist"),
        (64, 1, (2, 50), "contexts 64 that do not exist"),
        (68, 1, (64, 40), "contexts 68 that do not exist"),
    ):
        code = kept + bytes([contexts]) + number_bytes(lag) + bytes(8)
        with pytest.raises(TfpruneError, match=message):
            decode(ByteReader(code, "code"), shape)
