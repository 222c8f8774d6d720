"""Files that are read as they lie: whatever is wrong with the bytes is one line."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tfprune.backend import keras, tf
from tfprune.errors import TfpruneError
from tfprune.export.stored import read_weights


def refused(path: Path) -> str:
    with pytest.raises(TfpruneError) as caught:
        read_weights(path)
    message = str(caught.value)
    assert message.startswith(f"{path} can not be read") and "\n" not in message
    return message


def keras_file(path: Path, config: str) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.create_dataset("layers/dense/vars/0", data=np.ones((2, 3)))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
        archive.write(path.with_suffix(".h5"), "model.weights.h5")
    return path


@pytest.mark.parametrize("config", ["[]", '{"config": null}', '{"config": {"layers": [1]}}'])
def test_a_config_of_another_kind_is_refused(tmp_path: Path, config: str) -> None:
    refused(keras_file(tmp_path / "model.keras", config))


def test_a_damaged_block_of_an_archive_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "model.keras", json.dumps({"config": {"layers": []}}))
    content = bytearray(path.read_bytes())
    content[content.index(b"config.json") + len("config.json")] = 0xFF  # no such kind of block
    path.write_bytes(content)
    assert "invalid block type" in refused(path)


def test_a_layer_group_that_is_an_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers", data=np.ones(3))
    refused(path)


def test_the_old_model_format_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file.create_group("model_weights")
    assert "the old HDF5 model format; save as .keras or .weights.h5" in refused(path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc1")])
    return Path(tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint")))


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("kind", ["cut", "change"])
def test_a_damaged_checkpoint_is_refused(checkpoint: Path, part: str, kind: str) -> None:
    assert len(read_weights(checkpoint)) >= 2
    path = checkpoint.with_name(f"{checkpoint.name}.{part}")
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content[:-40] if kind == "cut" else content)
    refused(checkpoint)


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("fc1/kernel", np.ones((4, 3), np.float32), "_CHECKPOINTABLE_OBJECT_GRAPH not found"),
        ("_CHECKPOINTABLE_OBJECT_GRAPH", b"\xff\xff no message", "corrupt"),
        ("_CHECKPOINTABLE_OBJECT_GRAPH", np.ones(2, np.float32), "corrupt"),
    ],
    ids=["TensorFlow 1", "no graph", "numbers"],
)
def test_a_checkpoint_without_an_object_graph_is_refused(
    tmp_path: Path, name: str, tensor: Any, said: str
) -> None:
    prefix = str(tmp_path / "checkpoint")
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=[name], shape_and_slices=[""], tensors=[tf.constant(tensor)]
    )
    assert said in refused(Path(prefix))
