"""All files of a finished run, each proven before it is reported.

Every file is loaded again, run, compared with the model in memory, and its zeros counted
against the masks. TFLite and coded files run on the whole test set (the held-out images when
tuning). A file of Keras has to hold the model's weights to the bit, which is checked, and then
is the same model: some hundred images show that it runs as such, and its accuracy is the
model's own on the whole set.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
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
#: Inputs on which files with the same weights to the bit are run.
_SAMPLE = 500


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
    sample = inputs[:_SAMPLE]
    exports: dict[str, dict[str, Any]] = {}
    # Large files take seconds to zip; a thread does it beside the next file's work.
    with ThreadPoolExecutor(1) as zipper:
        _keras_files(plain, sample, expected, labels, folder, network, exports, zipper)
        export_tflite(plain, folder.tflite, representative_data=inputs[:200])
    for figures in exports.values():
        figures["zipped_bytes"] = figures["zipped_bytes"].result()
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


def _keras_files(
    plain: Any,
    sample: np.ndarray,
    expected: np.ndarray,
    labels: np.ndarray,
    folder: RunDir,
    network: tuple[str, dict[str, Any]] | None,
    exports: dict[str, dict[str, Any]],
    zipper: ThreadPoolExecutor,
) -> None:
    """Writes and proves the files of both Kerases; adds their figures to `exports`."""
    with atomic_path(folder.pruned_keras) as path:
        plain.save(path)
    loaded = keras.models.load_model(folder.pruned_keras, compile=False)
    _require_same_weights(folder.pruned_keras, loaded, plain)
    outputs = loaded.predict(sample, batch_size=500, verbose=0)
    exports["keras"] = _figures(folder.pruned_keras, outputs, expected, labels, zipper)

    # HDF5 complains of a full disk for a second time when its file is closed; a copy does not.
    with atomic_path(folder.pruned_weights) as path, tempfile.TemporaryDirectory() as scratch:
        plain.save_weights(Path(scratch) / path.name)
        shutil.copyfile(Path(scratch) / path.name, path)
    loaded.set_weights([np.zeros_like(array) for array in loaded.get_weights()])
    loaded.load_weights(folder.pruned_weights)
    _require_same_weights(folder.pruned_weights, loaded, plain)
    outputs = loaded.predict(sample, batch_size=500, verbose=0)
    exports["weights"] = _figures(folder.pruned_weights, outputs, expected, labels, zipper)

    if network is not None and IS_TF_KERAS:
        name, options = network
        outputs = export_keras3(
            name,
            sample.shape[1:],
            expected.shape[1],
            options,
            named_weights(plain),
            folder.pruned_keras3,
            sample,
        )
        exports["keras3"] = _figures(folder.pruned_keras3, outputs, expected, labels, zipper)


def code_file(
    model: Any,
    inputs: np.ndarray,
    labels: np.ndarray,
    folder: RunDir,
    masks: Mapping[str, np.ndarray] | None,
    *,
    coder: str = "context",
    other_bits: int = 32,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Writes `model.tfprune` and measures what is decoded from it; arguments as above.

    `coder` and `other_bits` are those of `save_compressed`. With fewer than 32 bits the file may
    compute something else than the model, which its accuracy tells.

    Returns:
        As above; the file's figures also hold `stages`, its bytes stage by stage.

    Raises:
        TfpruneError: the file cannot be written, or does not compute what the model does.
    """
    plain = strip(model)
    expected = plain.predict(inputs, batch_size=500, verbose=0)
    report = save_compressed(plain, folder.coded, coder=coder, other_bits=other_bits)
    outputs = load_compressed(folder.coded).predict(inputs, batch_size=500, verbose=0)
    figures = _figures(folder.coded, outputs, expected, labels)
    figures["stages"] = report.stages
    if other_bits == 32:
        _compare("tfprune", figures, expected)
    else:
        _log("tfprune", figures)
    audits = {} if masks is None else {"tfprune": audit(folder.coded, masks).verdict}
    return {"tfprune": figures}, audits


def _compare(kind: str, figures: dict[str, Any], expected: np.ndarray) -> None:
    scale = max(1.0, float(np.abs(expected).max()))
    if not figures["max_abs_difference"] <= _TOLERANCE * scale:
        raise TfpruneError(
            f"the exported {kind} file computes something else than the model: outputs "
            f"differ by up to {figures['max_abs_difference']:.3g} (largest {scale:.3g})"
        )
    _log(kind, figures)


def _log(kind: str, figures: dict[str, Any]) -> None:
    _LOG.info("exported %s: %s bytes, %.4f", kind, figures["bytes"], figures["accuracy"])


def _require_same_weights(path: Path, loaded: Any, model: Any) -> None:
    """Refuses a file whose weights differ from the model's in any bit."""
    pairs = zip(loaded.get_weights(), model.get_weights(), strict=True)
    if not all(a.tobytes() == b.tobytes() for a, b in pairs):
        raise TfpruneError(f"the exported file {path.name} holds other weights than the model")


def _figures(
    path: Path,
    outputs: np.ndarray,
    expected: np.ndarray,
    labels: np.ndarray,
    zipper: ThreadPoolExecutor | None = None,
) -> dict[str, Any]:
    """The figures of a file that holds a Keras model; with a zipper one is to come.

    `outputs` are those of all inputs, or of the first few of a file with the model's own
    weights, whose accuracy is then that of the `expected` outputs.
    """
    judged = outputs if len(outputs) == len(expected) else expected
    return {
        "bytes": path.stat().st_size,
        "zipped_bytes": zipper.submit(_zipped_bytes, path) if zipper else _zipped_bytes(path),
        "accuracy": float(np.mean(judged.argmax(axis=1) == labels)),
        "max_abs_difference": float(np.abs(outputs - expected[: len(outputs)]).max()),
        "latency_ms": None,
        "zeros": None,
    }


def _zipped_bytes(path: Path) -> int:
    return len(zlib.compress(path.read_bytes(), 9))
