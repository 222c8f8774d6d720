"""The ledger's bytes, counted by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.pruning.budget import layer_bytes
from tfprune.reporting.ledger import KernelContent, LayerContent, ledger, ledger_rows, times

#: A quarter of 64 weights: H(1/4) = 2/4 + 3/4 (2 - log2 3) = 0.811278; 64 of them are 51.92 bits.
CONV = LayerContent("conv1", (KernelContent(64, 16),), biases=8)
#: Half of 32 weights in 5 shared values: an index has 3 bits, positions have 1 bit a weight.
FC = LayerContent("fc1", (KernelContent(32, 16, codebook=5),), biases=4)
NORM = LayerContent("bn1", batch_norm=32)
DENSE = LayerContent("out", (KernelContent(10, 10),), other=3)


def test_the_parts_of_each_layer():
    found = ledger([CONV, FC, NORM, DENSE], {})
    zero = dict.fromkeys(("weights", "indices", "codebooks", "biases", "batch_norm", "other"), 0)
    assert found["layers"] == [
        {"name": "conv1", "dense_bytes": 4 * 72}
        | zero
        | {"weights": 64, "indices": 7, "biases": 32, "bytes": 103, "ratio": 288 / 103},
        {"name": "fc1", "dense_bytes": 4 * 36}
        | zero
        | {"weights": 6, "indices": 4, "codebooks": 20, "biases": 16, "bytes": 46}
        | {"ratio": 144 / 46},
        {"name": "bn1", "dense_bytes": 128} | zero | {"batch_norm": 128, "bytes": 128, "ratio": 1},
        {"name": "out", "dense_bytes": 52}
        | zero
        | {"weights": 40, "other": 12, "bytes": 52, "ratio": 1},
    ]
    assert found["parts"] == {
        "weights": 110,
        "indices": 11,
        "codebooks": 20,
        "biases": 48,
        "batch_norm": 128,
        "other": 12,
    }
    assert (found["dense_bytes"], found["bytes"]) == (612, 329)
    assert found["ratio"] == 612 / 329
    assert found["files"] == {}


def test_every_ratio_of_a_file_is_against_dense_float32():
    exports = {"tflite": {"bytes": 1224, "zipped_bytes": 306}, "keras": {"bytes": None}}
    assert ledger([CONV, FC, NORM, DENSE], exports)["files"] == {
        "tflite": {"bytes": 1224, "zipped_bytes": 306, "ratio": 0.5, "zipped_ratio": 2.0},
        "keras": {"bytes": None, "zipped_bytes": None, "ratio": None, "zipped_ratio": None},
    }


@given(st.integers(1, 10**7), st.floats(0, 1))
def test_without_codebooks_it_agrees_with_the_budget_in_bytes(size, density):
    kept = round(density * size)
    parts = KernelContent(size, kept).parts()
    assert sum(parts.values()) == layer_bytes(size, kept)
    assert min(parts.values()) >= 0


@pytest.mark.parametrize(("codebook", "bits"), [(1, 1), (2, 1), (3, 2), (256, 8), (257, 9)])
def test_an_index_into_a_codebook_takes_whole_bits(codebook, bits):
    parts = KernelContent(1000, 999, codebook).parts()
    assert parts["weights"] == math.ceil(999 * bits / 8)
    assert parts["codebooks"] == 4 * codebook


def test_a_model_without_variables_has_no_ratio():
    found = ledger([], {"tflite": {"bytes": 10, "zipped_bytes": 5}})
    assert found["ratio"] is None and found["files"]["tflite"]["ratio"] == 0


def test_rows_of_the_table_leave_out_what_nobody_has():
    assert ledger_rows(ledger([CONV], {})) == [
        ("layer", "dense float32", "kept weights", "indices", "biases", "all", "ratio"),
        ("conv1", "288", "64", "7", "32", "103", "2.8x"),
        ("all", "288", "64", "7", "32", "103", "2.8x"),
    ]
    assert times(None) == "–"
