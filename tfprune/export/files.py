"""All files of a finished run, each proven before it is reported.

Every file is loaded again, run on the whole test set (the held-out images when tuning),
compared with the model in memory, and its zeros counted against the masks.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.atomic import atomic_path
from tfprune.backend import IS_TF_KERAS, keras
from tfprune.compression.artifact import load_compressed, save_compressed
from tfprune.errors import TfpruneError
from tfprune.export.audit import audit
from tfprune.export.keras3 import export_keras3
from tfprune.export.stored import named_weights
from tfprune.export.tflite import export_tflite, measure_export
from tfprune.pruning.pruner import strip
from tfprune.run_dir import RunDir

_LOG = logging.getLogger("tfprune")

#: Largest output difference, relative to the largest output, between a file that holds the
#: same float32 weights and the model it was written from.
_TOLERANCE = 1e-3


def export_files(
    model: Any,
    inputs: np.ndarray,
    labels: np.ndarray,
    folder: RunDir,
    masks: Mapping[str, np.ndarray] | None,
    network: tuple[str, dict[str, Any]] | None,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Writes `.keras`, `.weights.h5` and `.tflite` files of a model, stripped.

    Args:
        model: the result of the run, wrapped or plain.
        inputs: (N, H, W, C) float32, what the model is judged on, normalised.
        labels: (N,) class numbers.
        folder: where the files go.
        masks: the truth for the audit, or None for a model that was not pruned.
        network: name and options of a registry network, of which a Keras 3 file is written
            too; None for a user's model.

    Returns:
        `exports` and `audit` as `summary.json` holds them.

    Raises:
        TfpruneError: a file cannot be written, or does not compute what the model does.
    """
    plain = strip(model)
    expected = plain.predict(inputs, batch_size=500, verbose=0)
    exports: dict[str, dict[str, Any]] = {}

    with atomic_path(folder.pruned_keras) as path:
        plain.save(path)
    loaded = keras.models.load_model(folder.pruned_keras, compile=False)
    outputs = loaded.predict(inputs, batch_size=500, verbose=0)
    exports["keras"] = _figures(folder.pruned_keras, outputs, expected, labels)

    # HDF5 complains of a full disk for a second time when its file is closed; a copy does not.
    with atomic_path(folder.pruned_weights) as path, tempfile.TemporaryDirectory() as scratch:
        plain.save_weights(Path(scratch) / path.name)
        shutil.copyfile(Path(scratch) / path.name, path)
    loaded.set_weights([np.zeros_like(array) for array in loaded.get_weights()])
    loaded.load_weights(folder.pruned_weights)
    outputs = loaded.predict(inputs, batch_size=500, verbose=0)
    exports["weights"] = _figures(folder.pruned_weights, outputs, expected, labels)

    if network is not None and IS_TF_KERAS:
        name, options = network
        outputs = export_keras3(
            name,
            inputs.shape[1:],
            expected.shape[1],
            options,
            named_weights(plain),
            folder.pruned_keras3,
            inputs,
        )
        exports["keras3"] = _figures(folder.pruned_keras3, outputs, expected, labels)

    export_tflite(plain, folder.tflite, representative_data=inputs[:200])
    exports["tflite"] = measure_export(folder.tflite, expected, inputs, labels)

    for kind, figures in exports.items():
        _compare(kind, figures, expected)
    paths = {
        "keras": folder.pruned_keras,
        "weights": folder.pruned_weights,
        "keras3": folder.pruned_keras3,
        "tflite": folder.tflite,
    }
    if masks is None:
        return exports, {}
    return exports, {kind: audit(paths[kind], masks).verdict for kind in exports}


def code_file(
    model: Any,
    inputs: np.ndarray,
    labels: np.ndarray,
    folder: RunDir,
    masks: Mapping[str, np.ndarray] | None,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Writes `model.tfprune` and measures what is decoded from it; arguments as above.

    Raises:
        TfpruneError: the file cannot be written, or does not compute what the model does.
    """
    plain = strip(model)
    expected = plain.predict(inputs, batch_size=500, verbose=0)
    save_compressed(plain, folder.coded)
    outputs = load_compressed(folder.coded).predict(inputs, batch_size=500, verbose=0)
    figures = _figures(folder.coded, outputs, expected, labels)
    _compare("tfprune", figures, expected)
    audits = {} if masks is None else {"tfprune": audit(folder.coded, masks).verdict}
    return {"tfprune": figures}, audits


def _compare(kind: str, figures: dict[str, Any], expected: np.ndarray) -> None:
    scale = max(1.0, float(np.abs(expected).max()))
    if not figures["max_abs_difference"] <= _TOLERANCE * scale:
        raise TfpruneError(
            f"the exported {kind} file computes something else than the model: outputs "
            f"differ by up to {figures['max_abs_difference']:.3g} (largest {scale:.3g})"
        )
    _LOG.info("exported %s: %s bytes, %.4f", kind, figures["bytes"], figures["accuracy"])


def _figures(
    path: Path, outputs: np.ndarray, expected: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """The figures of a file that holds a Keras model."""
    content = path.read_bytes()
    return {
        "bytes": len(content),
        "zipped_bytes": len(zlib.compress(content, 9)),
        "accuracy": float(np.mean(outputs.argmax(axis=1) == labels)),
        "max_abs_difference": float(np.abs(outputs - expected).max()),
        "latency_ms": None,
        "zeros": None,
    }
