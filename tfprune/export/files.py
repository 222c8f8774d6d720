"""All files of a finished run, each proven before it is reported.

Every file is loaded again, run on the whole test set (the held-out images when tuning),
compared with the model in memory, and its zeros counted against the masks.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.atomic import atomic_path
from tfprune.backend import IS_TF_KERAS, keras
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

    with atomic_path(folder.pruned_weights) as path:
        plain.save_weights(path)
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

    scale = max(1.0, float(np.abs(expected).max()))
    for kind, figures in exports.items():
        if not figures["max_abs_difference"] <= _TOLERANCE * scale:
            raise TfpruneError(
                f"the exported {kind} file computes something else than the model: outputs "
                f"differ by up to {figures['max_abs_difference']:.3g} (largest {scale:.3g})"
            )
        _LOG.info("exported %s: %s bytes, %.4f", kind, figures["bytes"], figures["accuracy"])
    paths = {
        "keras": folder.pruned_keras,
        "weights": folder.pruned_weights,
        "keras3": folder.pruned_keras3,
        "tflite": folder.tflite,
    }
    if masks is None:
        return exports, {}
    return exports, {kind: audit(paths[kind], masks).verdict for kind in exports}


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
