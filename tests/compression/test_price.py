"""The price of a bit that brings a file within a number of bytes."""

import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.compression.artifact import coded_bytes, save_compressed
from tfprune.compression.price import price_within
from tfprune.compression.sharing import share_weights
from tfprune.errors import UsageError
from tfprune.pruning.pruner import prune

BITS = {"fc": 6}


@pytest.fixture(scope="module")
def pruned():
    """20,000 normal weights, a tenth of them kept."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((200,))
    x = keras.layers.Dense(100, activation="relu", name="fc1")(inputs)
    return prune(keras.Model(inputs, keras.layers.Dense(3, name="out")(x)), 0.9)


def size_at(model, price, **how):
    return coded_bytes(share_weights(model, BITS, rate=price), **how)


@pytest.mark.parametrize(
    "how", [{}, {"coder": "huffman"}, {"other_bits": 8}], ids=["context", "huffman", "other"]
)
def test_the_file_fits_and_wastes_little(pruned, tmp_path, how):
    before = pruned.get_weights()
    largest, smallest = size_at(pruned, 0, **how), size_at(pruned, 1, **how)
    limit = (largest + smallest) // 2
    price = price_within(pruned, BITS, limit, **how)
    assert 0 < price < 1
    save_compressed(share_weights(pruned, BITS, rate=price), tmp_path / "m.tfprune", **how)
    written = (tmp_path / "m.tfprune").stat().st_size
    assert written == size_at(pruned, price, **how) <= limit
    # A price lower by more than the resolution is too low, unless the limit is nearly used up.
    assert written > 0.999 * limit or size_at(pruned, price / 1.02, **how) > limit
    assert all(map(np.array_equal, before, pruned.get_weights()))


def test_without_need_there_is_no_price(pruned):
    assert price_within(pruned, BITS, size_at(pruned, 0)) == 0
    assert price_within(pruned, BITS, size_at(pruned, 0) - 1) > 0


def test_random_starts_are_those_that_are_shared(pruned):
    how = {"initialisation": "random", "seed": 3}
    limit = coded_bytes(share_weights(pruned, BITS, rate=0.02, **how))
    price = price_within(pruned, BITS, limit, **how)
    assert coded_bytes(share_weights(pruned, BITS, rate=price, **how)) <= limit


def test_what_cannot_be_met_is_refused_with_the_smallest_there_is(pruned):
    smallest = size_at(pruned, 1)
    message = f"file of {smallest - 1} bytes: at a price of 1 it still has {smallest}; remove more"
    with pytest.raises(UsageError, match=message):
        price_within(pruned, BITS, smallest - 1)
    assert price_within(pruned, BITS, smallest) <= 1


@pytest.mark.parametrize("limit", [0, 1.5, True])
def test_a_limit_is_a_whole_number(pruned, limit):
    with pytest.raises(UsageError, match=r"whole number >= 1\. Received: "):
        price_within(pruned, BITS, limit)
