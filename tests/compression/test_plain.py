"""Variables that are not coded: their forms by hand, and what they come back as."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfprune.compression.byte_reader import ByteReader
from tfprune.compression.plain import (
    check_other_bits,
    form_of,
    is_form,
    pack_plain,
    read_plain,
    rounded,
)
from tfprune.errors import TfpruneError, UsageError


def test_int8_by_hand():
    bias = np.array([0, 2.54, -1.27, 0.004], np.float32)  # the step is 0.02
    assert form_of(bias, 8) == "int8"
    step = np.float32(2.54) / np.float32(127)
    assert pack_plain("b", bias, "int8") == step.tobytes() + bytes([0, 127, 256 - 64, 0])
    back = rounded("b", bias, 8)
    assert back.tolist() == [0, 127 * step, -64 * step, 0] and not np.signbit(back[0])


@pytest.mark.parametrize(
    ("values", "bits", "form"),
    [
        ([0.5, -1], 32, "float32"),
        ([0.5, -1], 16, "float16"),
        ([0.5, 1e-3], 8, "float16"),  # not negative: a scale or variance
        ([0.5, 0], 8, "float16"),  # of a layer with a dead unit, which is exactly zero
        ([0.5, -1e-9, 0], 8, "int8"),
        ([np.nan, 0], 8, "float16"),
        # Float16 is right in proportion from 2^-14 to 65504.
        ([0.5, 2.0**-14, 65504], 8, "float16"),
        ([0.5, 2.0**-15], 8, "float32"),
        ([0.5, 65505], 8, "float32"),
        ([np.inf, -1e-8], 8, "float32"),
        ([0.5, 1e-8], 16, "float16"),
        ([], 8, "float16"),
    ],
)
def test_the_form_follows_from_bits_and_values(values, bits, form):
    assert form_of(np.array(values, np.float32), bits) == form


def test_one_dead_unit_does_not_cost_the_others_their_scale():
    for values in ([0, 0.001, 0.004, 1], [0, 1e-8, 0.004, 1]):
        scale = np.array(values, np.float32)
        np.testing.assert_allclose(rounded("gamma", scale, 8), scale, rtol=5e-4, atol=0)


def test_other_types_stay_as_they_are():
    for array in (np.array([3, -3], np.int8), np.array([1.5]), np.array([True])):
        assert form_of(array, 8) == str(array.dtype)
        assert rounded("x", array, 8).tobytes() == array.tobytes()


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
        elements=st.floats(-60000, 60000, width=32),
    ),
    st.sampled_from([32, 16, 8]),
)
@settings(deadline=None)
def test_rounding_is_within_half_a_step_and_keeps_zeros(array, bits):
    back = rounded("x", array, bits)
    assert back.shape == array.shape and back.dtype == np.float32
    largest = float(np.abs(array).max(initial=0))
    allowed = {32: 0, 16: largest / 2048 + 2.0**-25, 8: largest / 254 * 1.001 + 1e-44}[bits]
    if form_of(array, bits) == "float16":
        allowed = largest / 2048 + 2.0**-25
    assert (np.abs(back.astype(float) - array) <= allowed).all()
    assert not back[array == 0].any()
    assert rounded("x", back, bits).tobytes() == back.tobytes() or bits == 8


def test_versions_know_their_forms():
    assert is_form("float32", "float16", 1) and not is_form("float32", "int8", 1)
    assert is_form("float32", "int8", 2) and is_form("int8", "int8", 1)
    assert not is_form("float64", "float16", 2) and not is_form("object", "object", 2)


def test_what_cannot_be_is_refused():
    for bits in (4, True, 8.5, "8"):
        with pytest.raises(UsageError, match="other_bits must be one of 32, 16, 8"):
            check_other_bits(bits)
    with pytest.raises(UsageError, match="does not fit into float16"):
        pack_plain("x", np.array([1e6, -1], np.float32), "float16")
    with pytest.raises(TfpruneError, match="bytes early"):
        read_plain(ByteReader(bytes(10), "x"), (2**40,), "float32", "int8")
