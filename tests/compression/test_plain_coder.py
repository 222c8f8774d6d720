"""The range coder for biases and batch norms: any bits come back, and from fewer bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.compression.byte_reader import ByteReader
from tfprune.compression.plain import DTYPES
from tfprune.compression.plain_coder import PlainDecoder, PlainEncoder
from tfprune.compression.range_coder import Frequencies, RangeEncoder
from tfprune.errors import TfpruneError


def coded(*arrays):
    encoder = PlainEncoder()
    for array in arrays:
        encoder.array(array)
    return encoder.to_bytes()


def decoder_of(code):
    return PlainDecoder(ByteReader(code, "code"))


@given(
    kinds=st.lists(st.sampled_from(DTYPES), max_size=6),
    counts=st.lists(st.integers(0, 50), min_size=6, max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=80, deadline=None)
def test_any_bits_of_any_types_come_back(kinds, counts, seed):
    rng = np.random.default_rng(seed)
    arrays = [
        rng.integers(0, 2, count).astype(bool)
        if kind == "bool"
        else np.frombuffer(rng.bytes(count * np.dtype(kind).itemsize), f"<{np.dtype(kind).str[1:]}")
        for kind, count in zip(kinds, counts, strict=False)
    ]
    decoder = decoder_of(coded(*arrays))
    for array in arrays:
        found = decoder.array(array.dtype.str, len(array))
        assert found.dtype == array.dtype and found.tobytes() == array.tobytes()
    decoder.end()


def test_every_int8_and_every_float16_comes_back():
    every = np.arange(-128, 128, dtype=np.int8), np.arange(1 << 16, dtype=np.uint16).view("<f2")
    decoder = decoder_of(coded(*every))
    assert decoder.array("i1", 256).tobytes() == every[0].tobytes()
    assert decoder.array("<f2", 1 << 16).tobytes() == every[1].tobytes()


def test_values_near_each_other_take_fewer_bits():
    rng = np.random.default_rng(0)
    # Of a normal distribution with a deviation of 20 an int8 has log2(20 sqrt(2 pi e)) = 6.4 bits.
    levels = np.clip(np.rint(rng.normal(0, 20, 4000)), -127, 127).astype(np.int8)
    assert len(coded(levels)) < 4000 * 6.5 / 8
    # Variances between 1/4 and 4 share a sign and five exponents: log2 5 + 10 bits of 16.
    variances = (2 ** rng.uniform(-2, 2, 4000)).astype(np.float16)
    assert len(coded(variances)) < 4000 * 12.4 / 8
    # Biases of dead units are zero, and take next to nothing.
    assert len(coded(np.zeros(4000, np.int8))) < 20


def test_what_is_not_written_is_refused():
    encoder = RangeEncoder()  # of one value the class 8, positive: 128
    encoder.adaptive(np.array([8]), Frequencies(9))
    encoder.uniform(np.array([0]), 2)
    encoder.uniform(np.array([0]), 128)
    with pytest.raises(TfpruneError, match="code is damaged: a number beyond int8"):
        decoder_of(encoder.to_bytes()).array("i1", 1)
    encoder = RangeEncoder()
    encoder.uniform(np.array([60, 50]), 256)
    with pytest.raises(TfpruneError, match="upper bytes from 60 to 50"):
        decoder_of(encoder.to_bytes()).array("<f2", 1)
    with pytest.raises(TfpruneError, match="no whole number of words"):
        decoder_of(b"123")
