"""Models as they come in, from a file or from the user's hand, and what can be wrong with them."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import tfprune.pruning.wrapper  # noqa: F401  registers our classes, which load_model needs
from tfprune.backend import IS_TF_KERAS, keras
from tfprune.errors import TfpruneError, UsageError
from tfprune.pruning.graph import is_graph

_THIS_KERAS, _OTHER_KERAS = ("tf_keras", "Keras 3") if IS_TF_KERAS else ("Keras 3", "tf_keras")
_SWITCH = (
    "unset TF_USE_LEGACY_KERAS" if IS_TF_KERAS else "set TF_USE_LEGACY_KERAS=1"
) + " before TensorFlow is imported"
# What Keras, h5py and zipfile raise on files that are not what they should be.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_model(path: str | os.PathLike[str], **kwargs: Any) -> Any:
    """Keras's `load_model`, with tfprune's classes known and errors that name their cause.

    Args:
        path: a `.keras` or `.h5` file, or with tf_keras a SavedModel folder.
        **kwargs: passed on (`custom_objects`, `compile`, ...).

    Raises:
        TfpruneError: the file is missing, damaged, of the other Keras, or needs classes that
            were not given.
    """
    file = Path(path)
    if not file.exists():
        raise TfpruneError(f"there is no model at {str(file)!r}")
    if file.is_dir() and not IS_TF_KERAS:
        raise TfpruneError(
            f"{str(file)!r} is a SavedModel folder, which Keras 3 does not read: {_SWITCH} "
            "for tf_keras, or save the model as .keras"
        )
    try:
        if zipfile.is_zipfile(file):
            _check_version(file)
        return keras.models.load_model(path, **kwargs)
    except _UNREADABLE as error:
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise TfpruneError(f"cannot load a model from {str(file)!r}: {cause}") from error


def check_model(model: Any, instead: str = "") -> None:
    """Raises unless it is a built functional or sequential model of this Keras.

    Args:
        model: what the user gave.
        instead: what can be done where a model is subclassed; the error says it.
    """
    check_built(model)
    if not is_graph(model):
        raise UsageError(
            "the layers of a subclassed model cannot be copied from outside: make it with "
            f"keras.Sequential or keras.Model(inputs, outputs){instead and ', or '}{instead}. "
            f"Received: {model.name!r} of type {_kind(model)}"
        )


def check_built(model: Any) -> None:
    """Raises unless it is a built model of this Keras, subclassed or not."""
    kind = _kind(model)
    if not isinstance(model, keras.Model):
        bases = {base.__module__.split(".")[0] for base in type(model).__mro__}
        if bases & {"keras", "tf_keras"}:
            raise UsageError(
                f"the model was made by {_OTHER_KERAS} and TensorFlow works with {_THIS_KERAS} "
                f"here: make it with tf.keras, or {_SWITCH}. Received: {kind}"
            )
        raise UsageError(f"model must be a Keras model. Received: {kind}")
    if not model.built:
        raise UsageError(
            "the model is not built yet and has no weights: call model.build(input_shape), or "
            f"call it on data, first. Received: {model.name!r} of type {kind}"
        )


def _kind(model: Any) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _check_version(file: Path) -> None:
    """Refuses a `.keras` file of the other Keras, whose format differs."""
    with zipfile.ZipFile(file) as archive:
        version = json.loads(archive.read("metadata.json"))["keras_version"]
    if (int(version.split(".")[0]) < 3) != IS_TF_KERAS:
        raise TfpruneError(
            f"{str(file)!r} was written by {_OTHER_KERAS} ({version}) and TensorFlow works with "
            f"{_THIS_KERAS} here: {_SWITCH}"
        )
