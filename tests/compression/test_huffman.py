"""Canonical Huffman codes: by hand, optimal, and refused when damaged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.compression.byte_reader import ByteReader
from tfprune.compression.huffman import MAX_LENGTH, code_lengths, decode, encode
from tfprune.errors import TfpruneError


def round_trip(symbols, alphabet):
    reader = ByteReader(encode(np.asarray(symbols, np.int64), alphabet), "code")
    decoded = decode(reader, len(symbols), alphabet)
    reader.end()
    return decoded.tolist()


def test_bytes_by_hand():
    # Counts 4, 2, 1, 1: lengths 1, 2, 3, 3 and codes 0, 10, 110, 111.
    symbols = np.array([0, 1, 0, 2, 0, 3, 0, 1])
    # Table: 4 entries; 00001 00010 00011 00011 and padding; 2 bytes of codes:
    # 0 10 0 110 0 111 0 10 and padding.
    table = bytes([4, 0b00001000, 0b10000110, 0b00110000])
    codes = bytes([2, 0b01001100, 0b11101000])
    assert encode(symbols, 4) == table + codes
    assert round_trip(symbols, 4) == symbols.tolist()


def test_a_lone_symbol_takes_no_bits():
    assert encode(np.full(1000, 2), 8) == bytes([3, 0, 0, 0])
    assert round_trip([2] * 1000, 8) == [2] * 1000
    assert encode(np.zeros(0, np.int64), 8) == bytes([0, 0])
    assert round_trip([], 8) == []


def test_codes_stay_within_the_table_for_the_steepest_counts():
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = code_lengths(np.array(fibonacci))
    assert lengths.min() > 0 and lengths.max() <= MAX_LENGTH
    assert sum(2.0**-length for length in lengths) == 1


def test_mean_length_is_within_a_bit_of_the_entropy():
    rng = np.random.default_rng(0)
    symbols = np.minimum(rng.geometric(0.2, 50_000) - 1, 31)
    shares = np.bincount(symbols) / len(symbols)
    entropy = -np.sum(shares * np.log2(shares, where=shares > 0, out=np.zeros_like(shares)))
    bits = 8 * len(encode(symbols, 32)) / len(symbols)
    assert entropy <= bits < entropy + 0.1


@given(st.lists(st.integers(0, 40), max_size=300))
@settings(max_examples=100, deadline=None)
def test_round_trip(symbols):
    assert round_trip(symbols, 41) == symbols


@pytest.mark.parametrize(
    ("content", "count", "message"),
    [
        (bytes([9, 0, 0, 0]), 1, "claims 9 where at most 8"),
        (bytes([2, 0]), 1, "ends 1 bytes early"),
        (bytes([2, 0b00001000, 0, 1, 0]), 1, "no Huffman code's"),  # a code of one branch
        (bytes([2, 0b00001000, 0b01000000, 1, 0]), 9, "cannot hold 9 symbols"),
        (bytes([2, 0b00001000, 0b01000000, 2, 0, 0]), 3, "bytes after the last code"),
        (bytes([3, 0b00001000, 0b10000100, 1, 0xFF]), 8, "end before 8 symbols"),
        (bytes([0, 1, 0]), 0, "nothing to decode"),
        (bytes([0, 0]), 3, "a code of no symbols"),
        (bytes([1, 0, 1, 0]), 3, "a code of no symbols"),
        (b"", 3, "ends 1 bytes early"),
    ],
)
def test_what_encode_does_not_write_is_refused(content, count, message):
    with pytest.raises(TfpruneError, match=message):
        decode(ByteReader(content, "code"), count, 8)
