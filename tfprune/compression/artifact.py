"""A pruned model in one small file, and back.

The file holds everything: the architecture, the kernels coded, all other variables as they
are. `container` describes it byte by byte.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.atomic import atomic_path
from tfprune.backend import IS_TF_KERAS
from tfprune.compression.architecture import architecture_of, build_architecture
from tfprune.compression.coders import CODERS, coder_named
from tfprune.compression.container import Content, pack, read
from tfprune.compression.plain import check_other_bits, rounded
from tfprune.compression.sharing import share_weights
from tfprune.compression.stages import CompressionReport, report_of
from tfprune.compression.tensor import SparseTensor
from tfprune.errors import TfpruneError
from tfprune.pruning.graph import has_wrappers, leaf_layers
from tfprune.pruning.loading import check_model
from tfprune.pruning.prunable import prunables
from tfprune.pruning.pruner import strip

_KERAS_LINE = 2 if IS_TF_KERAS else 3


def save_compressed(
    model: Any,
    path: str | Path,
    *,
    coder: str = "context",
    share_bits: int | Mapping[str, int] | None = None,
    other_bits: int = 32,
) -> CompressionReport:
    """Writes a model as a `.tfprune` file, read back before it is reported.

    The kernels that can be pruned are coded, pruned or not: without `share_bits` each kept
    weight to the bit, zeros of either sign as +0.0. A kernel of few different values, as
    `share_weights` leaves it, is stored as a codebook and indices.

    Args:
        model: a built functional or sequential model of stock Keras layers, wrapped or
            plain. It is not changed; the wrappers are stripped.
        path: where the file goes.
        coder: "context" (range coder with contexts) or "huffman" (as in Deep Compression).
        share_bits: None, or share the weights first, as `share_weights` does with these bits.
        other_bits: of the other float32 variables (biases, batch norms): 32, exact; 16,
            float16; 8, a step a variable, but for one without negative values float16, or
            float32 where that is not right in proportion (see `plain`).

    Returns:
        Bytes stage by stage.

    Raises:
        UsageError: an argument or a model that cannot be used.
        TfpruneError: the file cannot be written.
    """
    coder_named(coder)  # refused before anything is done
    check_other_bits(other_bits)
    check_model(model)
    if share_bits is not None:
        model = share_weights(model, share_bits)
    elif has_wrappers(model):
        model = strip(model)
    content = _content(model)
    tensors = _tensors(content)
    codes = {
        name: {key: each.encode(tensor) for key, tensor in tensors.items()}
        for name, each in CODERS.items()
    }
    files = {
        name: pack(content, CODERS[name], codes[name], other_bits=other_bits) for name in CODERS
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(files[coder])
        _prove(content, temporary, other_bits)
    others = sum(array.size for array in content.arrays.values())
    others -= sum(tensor.size for tensor in tensors.values())
    sizes = {name: len(file) for name, file in files.items()}
    return report_of(coder, tensors, codes[coder], others, sizes)


def coded_bytes(model: Any, coder: str = "context", other_bits: int = 32) -> int:
    """Bytes of the file that `save_compressed` would write of a plain model.

    Raises:
        UsageError: as there.
    """
    content, chosen = _content(model), coder_named(coder)
    codes = {name: chosen.encode(tensor) for name, tensor in _tensors(content).items()}
    return len(pack(content, chosen, codes, other_bits=other_bits))


def load_compressed(path: str | Path) -> Any:
    """Reads a `.tfprune` file: a plain Keras model, not compiled, every weight as stored.

    Args:
        path: the file.

    Raises:
        TfpruneError: it is missing, damaged, of the other Keras, or needs more than stock
            Keras. Nothing in a file is run, and no file that it names is opened.
    """
    path = Path(path)
    content, _ = read(path)
    if content.keras_line != _KERAS_LINE:
        wrote = {2: "tf_keras", 3: "Keras 3"}[content.keras_line]
        cure = "unset TF_USE_LEGACY_KERAS" if IS_TF_KERAS else "set TF_USE_LEGACY_KERAS=1"
        raise TfpruneError(
            f"{str(path)!r} holds a model of {wrote} ({content.keras_version}): {cure} before "
            "TensorFlow is imported"
        )
    try:
        values = sum(array.size for array in content.arrays.values())
        model = build_architecture(content.architecture, values)
    except TfpruneError as error:
        raise TfpruneError(f"cannot load {str(path)!r}: {error}") from error
    variables = _variables(model)
    for name in sorted(variables.keys() | content.arrays.keys()):
        wanted = variables.get(name)
        held = content.arrays.get(name)
        if wanted is None or held is None or tuple(wanted.shape) != held.shape:
            raise TfpruneError(
                f"cannot load {str(path)!r}: variable {name!r} is "
                f"{'missing' if held is None else held.shape} in the file and "
                f"{'missing' if wanted is None else tuple(wanted.shape)} in its model "
                f"(written by Keras {content.keras_version}, read by {_keras_version()})"
            )
    for name, variable in variables.items():
        variable.assign(content.arrays[name])
    return model


def _variables(model: Any) -> dict[str, Any]:
    """Every variable of a plain model by a name of its own, "layer/variable", in model order.

    Only the last part of Keras's own name is taken: the parts before it depend on how a model
    was built. Cells of a recurrent layer share names, the second one's is "layer/kernel#2".
    """
    variables: dict[str, Any] = {}
    for path, layer in leaf_layers(model):
        for variable in layer.weights:
            # Keras 3 says "kernel", tf_keras "conv1/kernel:0".
            name = f"{path}/{variable.name.split('/')[-1].split(':')[0]}"
            repeats = sum(known.split("#")[0] == name for known in variables)
            variables[f"{name}#{repeats + 1}" if repeats else name] = variable
    return variables


def _content(model: Any) -> Content:
    """What of a plain model goes into a file."""
    variables = _variables(model)
    arrays = {name: variable.numpy() for name, variable in variables.items()}
    kernels = {id(prunable.variable) for prunable in prunables(model)}
    coded = frozenset(
        name
        for name, variable in variables.items()
        if id(variable) in kernels and arrays[name].dtype == np.float32
    )
    return Content(_KERAS_LINE, _keras_version(), architecture_of(model), arrays, coded)


def _tensors(content: Content) -> dict[str, SparseTensor]:
    """The variables that are coded."""
    return {
        name: SparseTensor.from_array(array)
        for name, array in content.arrays.items()
        if name in content.coded
    }


def _keras_version() -> str:
    return importlib.metadata.version("tf_keras" if IS_TF_KERAS else "keras")


def _prove(content: Content, path: Path, other_bits: int) -> None:
    """Reads a file back and compares every bit."""
    held, _ = read(path)
    for name, array in content.arrays.items():
        if name in content.coded:
            expected = np.where(array == 0, np.float32(0), array)
        else:
            expected = rounded(name, array, other_bits)
        if held.arrays[name].tobytes() != expected.tobytes():
            raise RuntimeError(f"{name} did not come back as it was written")
