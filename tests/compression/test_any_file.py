"""Files of any layers come back to the bit: shapes, sparsities, bits, empty and full layers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.compression.codebook import share
from tfprune.compression.coders import CODERS
from tfprune.compression.container import Content, pack, read
from tfprune.compression.plain import rounded
from tfprune.compression.tensor import SparseTensor

LAYER = st.tuples(
    st.lists(st.integers(0, 9), min_size=1, max_size=4),  # shape
    st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.99, 1.0]),  # density
    st.sampled_from([None, 1, 2, 5, 8]),  # bits of its codebook
    st.sampled_from([0.0, 0.02]),  # price of a bit
)


def kernel(rng, shape, density, bits, rate):
    """A layer's kernel, pruned and shared."""
    array = rng.normal(size=shape).astype(np.float32)
    array[rng.random(shape) >= density] = 0
    if bits is not None and array.any():
        centroids, indices = share(array[array != 0], bits, rate=rate)
        array[array != 0] = centroids[indices]
    return array


@pytest.mark.parametrize("coder", CODERS.values(), ids=lambda coder: coder.name)
@given(
    seed=st.integers(0, 2**32 - 1),
    layers=st.lists(LAYER, max_size=4),
    other_bits=st.sampled_from([32, 16, 8]),
)
@settings(max_examples=60, deadline=None)
def test_a_file_comes_back_to_the_bit(tmp_path_factory, coder, seed, layers, other_bits):
    rng = np.random.default_rng(seed)
    arrays, coded = {}, set()
    for number, layer in enumerate(layers):
        coded.add(f"layer{number}/kernel")
        arrays[f"layer{number}/kernel"] = kernel(rng, *layer)
        bias = rng.normal(size=layer[0][-1]).astype(np.float32) * rng.integers(0, 2)
        arrays[f"layer{number}/bias"] = bias
    content = Content(3, "3.0", {"class_name": "Any"}, arrays, frozenset(coded))
    codes = {name: coder.encode(SparseTensor.from_array(arrays[name])) for name in coded}
    path = tmp_path_factory.mktemp("any") / "any.tfprune"
    path.write_bytes(pack(content, coder, codes, other_bits=other_bits))
    held, found = read(path)
    assert found is coder and held.architecture == content.architecture
    assert list(held.arrays) == list(arrays) and held.coded == coded
    for name, array in arrays.items():
        expected = array if name in coded else rounded(name, array, other_bits)
        assert held.arrays[name].shape == array.shape
        assert held.arrays[name].tobytes() == expected.tobytes()
