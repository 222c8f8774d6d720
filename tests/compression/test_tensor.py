"""Tensors taken apart and put together, bit by bit."""

import numpy as np

from tfprune.compression.tensor import CODEBOOK_LIMIT, SparseTensor


def bits(array):
    return np.asarray(array, np.float32).view(np.uint32).tolist()


def test_every_bit_pattern_but_zero_is_kept_and_zero_loses_its_sign():
    strange = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-45, 3.5], np.float32)
    strange.view(np.uint32)[2] |= 77  # a payload in the NaN
    tensor = SparseTensor.from_array(strange.reshape(2, 4))
    assert tensor.positions.tolist() == [2, 3, 4, 5, 6, 7]
    assert bits(tensor.to_array().reshape(-1)) == [0, 0, *bits(strange[2:])]


def test_few_values_become_a_codebook():
    array = np.tile(np.array([0, -1.5, 2, 0.25], np.float32), 50)
    tensor = SparseTensor.from_array(array)
    assert tensor.codebook.tolist() == [-1.5, 0.25, 2]
    assert tensor.values[:3].tolist() == [0, 2, 1] and tensor.kept == 150
    assert np.array_equal(tensor.to_array(), array)


def test_many_values_do_not():
    array = np.arange(1, 1001, dtype=np.float32)
    assert SparseTensor.from_array(array).codebook is None
    # As many as a codebook has entries, but few among the first that are looked at.
    array = np.ones(10 * CODEBOOK_LIMIT, np.float32)
    array[-2 * CODEBOOK_LIMIT :] = np.arange(2 * CODEBOOK_LIMIT)
    tensor = SparseTensor.from_array(array)
    assert tensor.codebook is None and np.array_equal(tensor.to_array(), array)


def test_matrix_shape():
    def shape_of(shape):
        return SparseTensor.from_array(np.zeros(shape, np.float32)).matrix_shape

    assert shape_of((5, 5, 3, 8)) == (75, 8) and shape_of((7,)) == (1, 7)
    assert shape_of(()) == (1, 1) and shape_of((3, 0)) == (0, 0)
