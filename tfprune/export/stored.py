"""The weights a model or a file holds, with the names by which masks know them.

Files are read as they lie on the disk: a `.keras` or `.weights.h5` file of either Keras
needs neither of them, so what an audit sees is what is stored and nothing else.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.errors import DAMAGED, TfpruneError

if TYPE_CHECKING:
    from tfprune.backend import keras


@dataclass(frozen=True)
class StoredWeight:
    """An array with the name it carries.

    Attributes:
        layer: path of the layer, "conv1" or "block/conv1"; "" where the file has no names.
        variable: "kernel", "bias", ...; "" where the file does not tell.
        values: the numbers.
        group: what tells layers apart in a file that does not name them.
    """

    layer: str
    variable: str
    values: np.ndarray
    group: str = ""


def named_variables(model: keras.Model) -> dict[str, Any]:
    """All weights of a model, as variables, by the names masks use, "layer/variable".

    The layers of a nested model are named "block/conv1", those inside a layer by the
    attributes that hold them ("lstm/cell"); a tfprune wrapper gives the weights of the layer
    inside it and not its masks.

    Args:
        model: a built Keras model, plain, wrapped or nested.
    """
    from tfprune.pruning.graph import leaf_layers, unwrapped
    from tfprune.pruning.kernels import maskable
    from tfprune.pruning.prunable import model_parts

    names = {
        id(variable): f"{part.path}/{attribute}"
        for part in model_parts(model)
        for attribute, variable in maskable(part.layer).items()
    }
    variables: dict[str, Any] = {}
    for path, layer in leaf_layers(model):
        plain = unwrapped(layer)
        for variable in plain.weights:
            if id(variable) in names:
                variables[names[id(variable)]] = variable
                continue
            # Keras 3 has the whole path, tf_keras "conv1/kernel:0".
            parts = getattr(variable, "path", variable.name).split(":")[0].split("/")
            start = _last_index(parts, plain.name)
            name = "/".join(parts[start + 1 :]) if 0 <= start < len(parts) - 1 else parts[-1]
            variables[f"{path}/{name}"] = variable
    return variables


def named_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """The values of `named_variables`."""
    return {name: variable.numpy() for name, variable in named_variables(model).items()}


def model_weights(model: keras.Model) -> list[StoredWeight]:
    """`named_weights` in the form the files are read in."""
    stored = []
    for name, values in named_weights(model).items():
        layer, _, variable = name.rpartition("/")
        stored.append(StoredWeight(layer, variable, values))
    return stored


def _last_index(parts: list[str], name: str) -> int:
    return len(parts) - 1 - parts[::-1].index(name) if name in parts else -1


def read_weights(path: str | Path) -> list[StoredWeight]:
    """The weights of a `.keras`, `.weights.h5` or `.tfprune` file, a SavedModel or a checkpoint.

    Args:
        path: the file, the SavedModel's folder, or a checkpoint's prefix (the path without
            ".index").

    Raises:
        TfpruneError: nothing there, a corrupt file, or a kind that is not known.
    """
    path = Path(path)
    if path.name.endswith(".keras"):
        return _read(path, _keras_file)
    if path.name.endswith(".h5"):
        return _read(path, _h5_file)
    if path.name.endswith(".tfprune"):
        return _coded_file(path)
    if (path / "saved_model.pb").is_file():
        return _read(path / "variables" / "variables", _checkpoint)
    if path.with_name(path.name + ".index").is_file():
        return _read(path, _checkpoint)
    problem = "is no kind of file that can be audited" if path.exists() else "does not exist"
    raise TfpruneError(
        f"{path} {problem}; possible are .keras, .weights.h5, .tflite, .tfprune, a SavedModel "
        "folder and the prefix of a TensorFlow checkpoint"
    )


def _read(path: Path, reader: Any) -> list[StoredWeight]:
    """Calls a reader; whatever it finds wrong with the bytes becomes one line."""
    try:
        return reader(path)
    except FileNotFoundError as error:
        raise TfpruneError(f"{path} does not exist") from error
    except DAMAGED as error:
        cause = (str(error) or type(error).__name__).splitlines()[0]
        raise TfpruneError(f"{path} can not be read, it is corrupt or incomplete: {cause}") from (
            error
        )


def _keras_file(path: Path) -> list[StoredWeight]:
    import h5py

    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        weights = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights, "r") as file:
        return list(_group_weights(file, "", config))


def _coded_file(path: Path) -> list[StoredWeight]:
    from tfprune.compression.container import read

    weights = []
    for name, values in read(path)[0].arrays.items():
        layer, _, variable = name.rpartition("/")
        weights.append(StoredWeight(layer, variable, values))
    return weights


def _h5_file(path: Path) -> list[StoredWeight]:
    import h5py

    with h5py.File(path, "r") as file:
        if "model_weights" in file:
            raise ValueError("the old HDF5 model format; save as .keras or .weights.h5")
        return list(_group_weights(file, "", {}))


def _group_weights(group: Any, path: str, config: Mapping) -> Iterator[StoredWeight]:
    """The weights of a layer or model and of everything in it.

    Keras names the groups of layers by class and number ("conv2d_1"). The name of the
    layer is an attribute in Keras 3; in tf_keras it is found in the model's config by
    counting its classes in the same way, or it is unknown.
    """
    numbered = group.get("vars", {})
    arrays = [numbered[key][()] for key in sorted(numbered, key=int)]
    # Masks, the only booleans, are not weights.
    arrays = [array for array in arrays if array.dtype != bool]
    for variable, array in zip(_variable_names(arrays), arrays, strict=True):
        yield StoredWeight(path, variable, array, group.name)
    names, configs = _layer_names(config)
    for key in sorted(group.get("layers", ()), key=_natural):
        layer = group["layers"][key]
        name = layer["vars"].attrs.get("name") if "vars" in layer else None
        name = name or names.get(key, "")
        yield from _group_weights(layer, f"{path}/{name}".strip("/"), configs.get(key, {}))
    for key in group:
        if key not in ("vars", "layers", "optimizer", "metrics") and hasattr(group[key], "keys"):
            yield from _group_weights(group[key], path, {})


def _layer_names(config: Mapping) -> tuple[dict[str, str], dict[str, Mapping]]:
    """From a model's config: group in the file -> name of the layer, and its own config."""
    names, configs, seen = {}, {}, Counter[str]()
    for layer in config.get("config", {}).get("layers", ()):
        kind = _snake_case(layer["class_name"].split(">")[-1])
        key = f"{kind}_{seen[kind]}" if seen[kind] else kind
        seen[kind] += 1
        names[key] = layer["config"].get("name", "")
        configs[key] = layer
    return names, configs


def _snake_case(name: str) -> str:
    """Keras's own rule for a group's name: Conv2D -> conv2d, SeparableConv2D -> ..."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _natural(key: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.*?)(?:_(\d+))?", key)
    return (match[1], int(match[2] or 0)) if match else (key, 0)


def _variable_names(arrays: list[np.ndarray]) -> list[str]:
    """What the numbered vectors of a layer are; of kernels the shape tells enough."""
    vectors = [array.ndim == 1 for array in arrays]
    if len(arrays) > 1 and all(vectors):
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        return [names[i] if len(arrays) == len(names) else "" for i in range(len(arrays))]
    return ["bias" if vector else "" for vector in vectors]


def _checkpoint(path: Path) -> list[StoredWeight]:
    from google.protobuf.message import DecodeError

    from tfprune.backend import tf

    try:
        return _checkpoint_weights(tf.train.load_checkpoint(str(path)))
    except (tf.errors.OpError, DecodeError) as error:
        raise ValueError(str(error)) from error


def _checkpoint_weights(reader: Any) -> list[StoredWeight]:
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    stored = []
    for node in graph.nodes:
        for attribute in node.attributes:
            layer, _, variable = attribute.full_name.rpartition("/")
            values = reader.get_tensor(attribute.checkpoint_key)
            if layer and isinstance(values, np.ndarray) and values.dtype != bool:
                stored.append(StoredWeight(layer, variable, values))
    return stored
