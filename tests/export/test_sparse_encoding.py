"""TFLite's sparse encoding is read back as what it stands for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tfprune.backend import keras
from tfprune.export.audit import audit
from tfprune.export.flatbuffer import read_kernels
from tfprune.export.sparse_encoding import densify
from tfprune.export.tflite import count_zeros, export_tflite, run_tflite
from tfprune.pruning.pruner import get_masks, prune, strip


def dense(size: int) -> SimpleNamespace:
    return SimpleNamespace(denseSize=size, arraySegments=None, arrayIndices=None)


def sparse(segments: list[int], indices: list[int]) -> SimpleNamespace:
    return SimpleNamespace(
        denseSize=0,
        arraySegments=SimpleNamespace(values=segments),
        arrayIndices=SimpleNamespace(values=indices),
    )


def encoding(order: list[int], levels: list, blocks: list[int] | None = None) -> SimpleNamespace:
    return SimpleNamespace(traversalOrder=order, blockMap=blocks, dimMetadata=levels)


def test_compressed_rows() -> None:
    # Rows (1 . 2), (. . .), (. 3 .): segments 0 2 2 3, columns 0 2 1.
    found = densify(
        np.array([1, 2, 3]), (3, 3), encoding([0, 1], [dense(3), sparse([0, 2, 2, 3], [0, 2, 1])])
    )
    np.testing.assert_array_equal(found, [[1, 0, 2], [0, 0, 0], [0, 3, 0]])


def test_blocks_of_four_columns() -> None:
    # Two rows of two blocks of four: of the first row the second block, of the second both.
    levels = [dense(2), sparse([0, 1, 3], [1, 0, 1]), dense(4)]
    found = densify(np.arange(1, 13), (2, 8), encoding([0, 1, 2], levels, [1]))
    wanted = [[0, 0, 0, 0, 1, 2, 3, 4], [5, 6, 7, 8, 9, 10, 11, 12]]
    np.testing.assert_array_equal(found, wanted)


def test_axes_in_another_order_than_they_are_stored() -> None:
    levels = [dense(3), sparse([0, 1, 1, 2], [1, 0])]  # columns first
    found = densify(np.array([5, 6]), (2, 3), encoding([1, 0], levels))
    np.testing.assert_array_equal(found, [[0, 0, 6], [5, 0, 0]])


@pytest.mark.parametrize(
    ("order", "levels"),
    [
        ([0, 0], [dense(3), sparse([0, 2, 2, 3], [0, 2, 1])]),
        ([0, 1], [dense(3), sparse([0, 2, 3], [0, 2, 1])]),
        ([0, 1], [dense(3), sparse([0, 2, 2, 2], [0, 2])]),
    ],
)
def test_encodings_that_contradict_themselves_are_refused(order: list[int], levels: list) -> None:
    with pytest.raises(ValueError, match=r"order|segments|values"):
        densify(np.array([1, 2, 3]), (3, 3), encoding(order, levels))


@pytest.mark.parametrize("quantize", [None, "float16"])
def test_files_run_are_smaller_and_hold_the_models_zeros(
    quantize: str | None, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((12, 12, 2))
    x = layers.Conv2D(16, 3, activation="relu", name="conv1")(inputs)
    x = layers.Flatten(name="flatten")(layers.Conv2D(16, 3, name="conv2")(x))
    model = keras.Model(inputs, layers.Dense(8, name="out")(x))
    pruned = prune(model, 0.9, layers=["conv1", "conv2", "out"], allocation="uniform")
    plain, masks = strip(pruned), get_masks(pruned)
    paths = [
        export_tflite(plain, tmp_path / f"{sparse}.tflite", quantize=quantize, sparse=sparse)
        for sparse in (False, True)
    ]
    plain_file, sparse_file = (path.stat().st_size for path in paths)
    assert sparse_file < plain_file / 2
    assert list(count_zeros(paths[0]).values()) == list(count_zeros(paths[1]).values())
    images = np.random.default_rng(0).normal(size=(5, 12, 12, 2)).astype(np.float32)
    np.testing.assert_allclose(*(run_tflite(path, images) for path in paths), rtol=0, atol=1e-5)
    assert audit(paths[1], masks).verdict == "ok"
    for mine, other in zip(*map(read_kernels, paths), strict=True):
        np.testing.assert_array_equal(mine.values, other.values)
    kernel, bias = plain.get_layer("conv2").get_weights()
    kernel[tuple(np.argwhere(~masks["conv2/kernel"])[0])] = 0.25
    plain.get_layer("conv2").set_weights([kernel, bias])
    path = export_tflite(plain, tmp_path / "back.tflite", quantize=quantize, sparse=True)
    report = audit(path, masks)
    assert {layer.name: layer.came_back for layer in report.layers if layer.came_back} == {
        "conv2/kernel": 1
    }
