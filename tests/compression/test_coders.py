"""Both coders: exact for any tensor, as short as promised, and proof against damage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.coding import CODER_NAMES
from tfprune.compression import huffman
from tfprune.compression.byte_reader import ByteReader, number_bytes
from tfprune.compression.codebook import share
from tfprune.compression.coders import CODERS, coder_named
from tfprune.compression.paper import gap_bits
from tfprune.compression.range_coder import RangeEncoder
from tfprune.compression.tensor import SparseTensor
from tfprune.errors import TfpruneError, UsageError

BOTH = pytest.mark.parametrize("coder", CODERS.values(), ids=lambda coder: coder.name)


def draw(rng, shape, density, bits=None):
    """An array with that density, its kept weights shared where `bits` are given."""
    array = rng.normal(size=shape).astype(np.float32)
    array[rng.random(shape) >= density] = 0
    if bits is not None and array.any():
        centroids, indices = share(array[array != 0], bits)
        array[array != 0] = centroids[indices]
    return array


def assert_round_trip(coder, array):
    code = coder.encode(SparseTensor.from_array(array))
    back = coder.decode(ByteReader(code, "code"), array.shape).to_array()
    assert back.dtype == np.float32 and back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    return code


def entropy_bytes(array):
    """Zero-order entropy of positions and indices, the tables (the codebook) and 64 a stream."""
    tensor = SparseTensor.from_array(array)
    p = tensor.kept / tensor.size
    bits = -tensor.size * (p * np.log2(p) + (1 - p) * np.log2(1 - p))
    shares = np.bincount(tensor.values) / tensor.kept
    bits -= tensor.kept * np.sum(shares * np.log2(shares))
    return bits / 8, tensor.codebook.nbytes + 2 * 64


@BOTH
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.lists(st.integers(1, 12), min_size=0, max_size=4),
    density=st.sampled_from([0.0, 0.02, 0.1, 0.5, 0.97, 1.0]),
    bits=st.sampled_from([None, 1, 3, 5, 8]),
)
@settings(max_examples=80, deadline=None)
def test_round_trip(coder, seed, shape, density, bits):
    assert_round_trip(coder, draw(np.random.default_rng(seed), tuple(shape), density, bits))


@BOTH
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_round_trip_of_any_bits(coder, seed, count):
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 2**32, count, dtype=np.uint32).view(np.float32)
    array[rng.random(count) < 0.3] = 0
    array[array == 0] = 0  # no -0.0 among them
    assert_round_trip(coder, array.reshape(-1, 1))


@BOTH
def test_round_trip_of_any_bits_that_are_shared(coder):
    # NaNs with a payload, of either sign, both infinities, and the numbers next to zero.
    bits = [0x7FC00001, 0xFFC00002, 0x7F800000, 0xFF800000, 1, 0x80000001]
    array = np.tile(np.array(bits, np.uint32), 100).view(np.float32).reshape(3, 5, 4, 10)
    assert sorted(SparseTensor.from_array(array).codebook.view(np.uint32)) == sorted(bits)
    assert_round_trip(coder, array)
    array[:, 1:3] = 0
    assert_round_trip(coder, array)


@BOTH
@pytest.mark.parametrize("shape", [(0,), (3, 0), (1, 70_000), (70_000, 1), (3, 3, 20, 40)])
def test_round_trip_of_odd_shapes(coder, shape):
    rng = np.random.default_rng(0)
    for density, bits in ((0.001, None), (0.1, 5)):
        assert_round_trip(coder, draw(rng, shape, density, bits))


@BOTH
def test_dead_rows_and_columns_and_a_dense_corner(coder):
    array = np.zeros((50, 60), np.float32)
    array[10:20, 5:50] = np.random.default_rng(0).normal(size=(10, 45))
    assert_round_trip(coder, array)


def test_the_bytes_of_the_paper_by_hand():
    # Figure 2's positions with values 2, 1 and 2, by 5-bit gaps 1, 3, 11; the codebook is 1, 2.
    array = np.zeros((1, 20), np.float32)
    array[0, [0, 3, 14]] = [2, 1, 2]
    tensor = SparseTensor(
        (1, 20), np.array([0, 3, 14]), np.array([1, 0, 1], np.int32), np.array([1, 2], np.float32)
    )
    code = CODERS["huffman"].encode(tensor)
    assert gap_bits((1, 20)) == 5 and gap_bits((3, 3, 1, 20)) == 8
    head = bytes([5, 3, 3, 2]) + np.array([1, 2], "<f4").tobytes()
    assert code.startswith(head)
    # gap - 1 is 0, 2, 10: eleven lengths, of which one is 1 and two are 2; 5 bits of code.
    assert code[len(head)] == 11 and code[len(head) + 8] == 1
    assert np.array_equal(
        CODERS["huffman"].decode(ByteReader(code, "x"), (1, 20)).to_array(), array
    )


def test_the_range_coder_is_within_two_percent_of_the_entropy():
    array = draw(np.random.default_rng(0), (1000, 2000), 0.1, 5)
    entropy, tables = entropy_bytes(array)
    assert len(CODERS["context"].encode(SparseTensor.from_array(array))) < 1.02 * entropy + tables


def test_it_is_shorter_than_the_entropy_where_masks_cluster():
    rng = np.random.default_rng(0)
    rows, columns = rng.gamma(0.5, 1, (400, 1)), rng.gamma(0.5, 1, (1, 300))
    chance = np.minimum(0.1 * rows * columns / 0.25, 0.95)
    values = draw(rng, (400, 300), 1.0, 5)
    array = np.where(rng.random((400, 300)) < chance, values, np.float32(0))
    entropy, _ = entropy_bytes(array)
    tensor = SparseTensor.from_array(array)
    assert len(CODERS["context"].encode(tensor)) < 0.85 * entropy
    # One axis alone helps, too, and the other way round as well.
    for chance in (0.1 * rows / 0.5, 0.1 * columns / 0.5):
        striped = np.where(rng.random((400, 300)) < chance, values, np.float32(0))
        entropy, _ = entropy_bytes(striped)
        assert len(CODERS["context"].encode(SparseTensor.from_array(striped))) < 0.95 * entropy


def test_values_that_differ_by_filter_are_coded_by_filter():
    rng = np.random.default_rng(0)
    array = draw(rng, (500, 64), 1.0) * np.exp2(rng.integers(-3, 4, 64))
    centroids, indices = share(array.reshape(-1).astype(np.float32), 6)
    array = centroids[indices].reshape(500, 64)
    shares = np.bincount(indices) / indices.size
    entropy = -indices.size * np.sum(shares * np.log2(shares)) / 8
    for each in (array, np.ascontiguousarray(array.T)):
        assert len(assert_round_trip(CODERS["context"], each)) < 0.9 * entropy


@pytest.mark.parametrize("shape", [(30, 40), (3, 3, 8, 16)])
@pytest.mark.parametrize("bits", [None, 4])
@BOTH
def test_damage_is_an_error_or_a_tensor_of_the_shape(coder, bits, shape):
    # Without the file's checksum other codes can be valid; nothing else may happen.
    rng = np.random.default_rng(1)
    code = coder.encode(SparseTensor.from_array(draw(rng, shape, 0.2, bits)))
    refused = 0
    for _ in range(1500):
        damaged = bytearray(code)
        for at in rng.integers(0, min(len(code), rng.choice([16, 10_000])), rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        cut = len(damaged) if rng.random() < 0.7 else rng.integers(len(damaged))
        try:
            tensor = coder.decode(ByteReader(bytes(damaged[:cut]), "code"), shape)
        except TfpruneError:
            refused += 1
        else:
            assert tensor.to_array().shape == shape
            assert (np.diff(tensor.positions) > 0).all()
    assert refused > 500


@BOTH
def test_a_claim_of_more_weights_than_there_are_is_refused(coder):
    lead = bytes([5]) if coder.name == "huffman" else b""
    with pytest.raises(TfpruneError, match="claims 7 where at most 6 can be"):
        coder.decode(ByteReader(lead + number_bytes(7) + bytes(20), "code"), (2, 3))


@pytest.mark.parametrize(
    ("bits", "kept", "gaps", "values", "message"),
    [
        (0, 1, [1], [2], "gaps of 0 bits"),
        (17, 1, [1], [2], "gaps of 17 bits"),
        (5, 2, [1, 3], [2, 0], "1 weights where 2 are claimed"),
        (5, 1, [1, 3], [2, 4], "2 weights where 1 are claimed"),
        (5, 2, [1, 6], [2, 4], "its last weight is number 7 of 6"),
    ],
)
def test_what_huffman_does_not_write_is_refused(bits, kept, gaps, values, message):
    code = bytes([bits, len(gaps), kept, 0]) + huffman.encode(np.array(gaps) - 1, 1 << 5)
    code += np.array(values, "<f4").tobytes()
    with pytest.raises(TfpruneError, match=f"code is damaged: {message}"):
        CODERS["huffman"].decode(ByteReader(code, "code"), (2, 3))


def test_what_context_does_not_write_is_refused():
    encoder = RangeEncoder()  # of six weights, all of them kept, the first codes are exponents
    encoder.uniform(np.array([130, 120]), 1 << 8)
    head = number_bytes(6) + number_bytes(0)
    for code, message in (
        (head + bytes([0]) + encoder.to_bytes(), "exponents from 130 to 120"),
        (head + bytes([4]), "contexts 4 that do not exist"),
        (head + bytes([128]), "signs nearby of what has no places"),
        (number_bytes(5) + number_bytes(0) + bytes([64, 0]), "contexts 64 that do not exist"),
    ):
        with pytest.raises(TfpruneError, match=f"code is damaged: {message}"):
            CODERS["context"].decode(ByteReader(code, "code"), (2, 3))


def test_the_flag_knows_the_coders():
    assert set(CODER_NAMES) == set(CODERS)


def test_an_unknown_coder_is_refused():
    with pytest.raises(UsageError, match=r"one of huffman, context. Received: 'zip'"):
        coder_named("zip")
