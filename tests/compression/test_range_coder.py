"""The range coder: round trips, lengths, golden words, and damage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.compression.byte_reader import ByteReader
from tfprune.compression.range_coder import FLAG_BITS, Frequencies, RangeDecoder, RangeEncoder
from tfprune.errors import TfpruneError

#: What constriction 0.5.0 wrote on x86-64; any other result makes files unreadable.
GOLDEN = (
    "5efcffff7faf81f48820e4ad0e38bf15a7de5bb2095b31e34bc0bb135349067796f9ea6a8d92e2a6"
    "f88fe31960dd5d75acdd3b89f9f3bc684596815339adc30372e92aee938293598b965585e19a6e0f"
    "b75367701d89932d68584686caeef732ca626de16ab4faeb2ae99d9270c2678777565ae6"
)


def decoder_of(content):
    return RangeDecoder(ByteReader(content, "code"))


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 400), alphabet=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_round_trip_of_all_kinds_in_one_stream(seed, count, alphabet):
    rng = np.random.default_rng(seed)
    chances = rng.integers(1, 1 << FLAG_BITS, count)
    flags = rng.random(count) < chances / 2**FLAG_BITS
    symbols = np.minimum(rng.geometric(0.1, count) - 1, alphabet - 1)
    digits = rng.integers(0, 4096, count)
    encoder = RangeEncoder()
    encoder.flags(flags, chances)
    encoder.adaptive(symbols, Frequencies(alphabet))
    encoder.uniform(digits, 4096)
    decoder = decoder_of(encoder.to_bytes())
    assert np.array_equal(decoder.flags(chances), flags)
    assert np.array_equal(decoder.adaptive(count, Frequencies(alphabet)), symbols)
    assert np.array_equal(decoder.uniform(count, 4096), digits)
    decoder.end()


def test_flags_take_their_entropy():
    # 400,000 flags with the odds 1 : 15 cost 0.3373 bits each.
    flags = np.random.default_rng(0).random(400_000) < 1 / 16
    encoder = RangeEncoder()
    encoder.flags(flags, np.full(len(flags), 1 << (FLAG_BITS - 4)))
    p = np.array([flags.mean(), 1 - flags.mean()])
    expected = -len(flags) * (p @ np.log2([1 / 16, 15 / 16])) / 8
    assert abs(len(encoder.to_bytes()) - expected) < 16


def test_adaptive_costs_the_entropy_and_half_a_logarithm_for_each_symbol():
    symbols = np.random.default_rng(0).binomial(31, 0.3, 100_000)
    encoder = RangeEncoder()
    encoder.adaptive(symbols, Frequencies(32))
    shares = np.bincount(symbols, minlength=32) / len(symbols)
    entropy = -np.sum(shares * np.log2(shares, where=shares > 0, out=np.zeros(32)))
    learning = 31 / 2 * np.log2(len(symbols))
    assert 8 * len(encoder.to_bytes()) < len(symbols) * entropy + 1.3 * learning + 64


def test_golden_words():
    encoder = RangeEncoder()
    encoder.flags(np.arange(100) % 7 == 0, 1 + np.arange(100) * 10_007)
    encoder.adaptive(np.arange(200) ** 2 % 11, Frequencies(11))
    encoder.uniform(np.arange(20) * 199, 4096)
    content = encoder.to_bytes()
    assert content.hex() == GOLDEN
    decoder = decoder_of(content)
    assert decoder.flags(1 + np.arange(100) * 10_007).sum() == 15


def test_damage_ends_in_an_error_or_in_symbols_of_the_alphabet():
    rng = np.random.default_rng(0)
    encoder = RangeEncoder()
    encoder.adaptive(rng.integers(0, 20, 300), Frequencies(20))
    encoder.flags(rng.random(300) < 0.1, np.full(300, 100_000))
    content = encoder.to_bytes()
    refused = 0
    for _ in range(500):
        words = bytearray(content)
        for at in rng.integers(0, len(words), rng.integers(1, 5)):
            words[at] = rng.integers(256)
        try:
            decoder = decoder_of(bytes(words)[: 4 * rng.integers(0, 1 + len(words) // 4)])
            assert decoder.adaptive(300, Frequencies(20)).max() < 20
            assert decoder.flags(np.full(300, 100_000)).shape == (300,)
            decoder.end()
        except TfpruneError:
            refused += 1
    assert refused > 50


def test_half_words_and_leftovers_are_refused():
    with pytest.raises(TfpruneError, match="no whole number of words"):
        decoder_of(b"123")
    with pytest.raises(TfpruneError, match="symbols after the last one"):
        decoder_of(b"1234" * 8).end()
