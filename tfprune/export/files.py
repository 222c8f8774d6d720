"""All files of a finished run, each proven before it is reported.

Every file is loaded again, run, compared with the model in memory, and its zeros counted
against the masks. TFLite (see `tflite_files`) and coded files run on the whole test set (the
held-out images when tuning). A file of Keras has to hold the model's weights to the bit, which
is checked, and then is the same model: some hundred images show that it runs as such, and its
accuracy is the model's own on the whole set.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.atomic import atomic_path
from tfprune.backend import IS_TF_KERAS, keras
from tfprune.compression.artifact import load_compressed, save_compressed
from tfprune.errors import TfpruneError
from tfprune.export.audit import audit
from tfprune.export.form import Form
from tfprune.export.keras3 import export_keras3
from tfprune.export.stored import named_weights
from tfprune.export.tflite_files import (
    Judge,
    log_file,
    outputs_of,
    require_same_outputs,
    tflite_files,
    time_files,
)
from tfprune.export.zipped import zipped_bytes
from tfprune.run_dir import RunDir

#: Inputs on which files with the same weights to the bit are run.
_SAMPLE = 500


def export_files(
    forms: Sequence[Form],
    judge: Judge,
    folder: RunDir,
    network: tuple[str, dict[str, Any]] | None,
    *,
    kinds: Sequence[str] = (),
    dense: tuple[Path, dict[str, Any]] | None = None,
    aware: Any = None,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Writes the `.keras`, `.weights.h5` and `.tflite` files of a result.

    Args:
        forms: the result as it is, and shrunk where that takes something out of it.
        judge: what the files are judged on.
        folder: where they go.
        network: name and options of a registry network, of which a Keras 3 file is written
            too; None for a user's model.
        kinds: TFLite files beside float32 ones, of the smallest form; see `tflite_files`.
        dense: the TFLite file of the network before it was pruned and its figures, to compare
            with, or None.
        aware: the smallest form trained quantization-aware, where `kinds` has "qat".

    Returns:
        `exports` and `audit` as `summary.json` holds them.

    Raises:
        TfpruneError: a file cannot be written, or does not compute what the model does.
    """
    keras_exports: dict[str, Any] = {}
    audits: dict[str, str] = {}
    outputs: dict[str, np.ndarray] = {}
    # Zipping takes seconds a file, and Keras 3 is another process: both go beside the rest.
    with ThreadPoolExecutor(2) as background:
        keras3 = None
        if network is not None and IS_TF_KERAS:
            judge.outputs_of(forms[0].model)  # here, and not in two threads at a time
            keras3 = background.submit(_keras3_file, forms[0], judge, folder, network)
        for form in forms:
            figures, paths = _keras_files(form, judge, folder, background)
            keras_exports |= figures
            outputs |= dict.fromkeys(figures, judge.outputs_of(form.model))
            if form.masks is not None:
                audits |= {kind: audit(paths[kind], form.masks).verdict for kind in figures}
        files, exports, verdicts = tflite_files(forms, kinds, judge, folder, dense, aware)
        for figures in keras_exports.values():
            figures["zipped_bytes"] = figures["zipped_bytes"].result()
        if keras3 is not None:
            keras_exports["keras3"] = keras3.result()
            outputs["keras3"] = judge.outputs_of(forms[0].model)
            if forms[0].masks is not None:
                audits["keras3"] = audit(folder.pruned_keras3, forms[0].masks).verdict
    for kind, figures in keras_exports.items():
        require_same_outputs(kind, figures, outputs[kind])
        log_file(kind, figures)
    time_files(files, exports, judge)  # when nothing else is at work
    return keras_exports | exports, audits | verdicts


def _keras_files(
    form: Form, judge: Judge, folder: RunDir, background: Executor
) -> tuple[dict[str, dict[str, Any]], dict[str, Path]]:
    """Writes and proves the files of this Keras: figures, zipped bytes to come, and paths."""
    plain, labels, sample = form.model, judge.labels, judge.inputs[:_SAMPLE]
    expected = judge.outputs_of(plain)
    shrunk, kind = form.name == "shrunk", form.kind("keras")
    keras_path = folder.shrunk_keras if shrunk else folder.pruned_keras
    with atomic_path(keras_path) as path:
        plain.save(path)
    loaded = keras.models.load_model(keras_path, compile=False)

    def figures_of(path: Path) -> dict[str, Any]:
        """Proves the file that `loaded` was read from, first its weights; its figures."""
        _require_same_weights(path, loaded, plain)
        outputs = loaded.predict(sample, batch_size=500, verbose=0)
        zipped = background.submit(zipped_bytes, path)
        return _figures(path, outputs, expected, labels) | {"zipped_bytes": zipped}

    exports, paths = {kind: figures_of(keras_path)}, {kind: keras_path}
    if shrunk:
        return exports, paths

    # HDF5 complains of a full disk for a second time when its file is closed; a copy does not.
    with atomic_path(folder.pruned_weights) as path, tempfile.TemporaryDirectory() as scratch:
        plain.save_weights(Path(scratch) / path.name)
        shutil.copyfile(Path(scratch) / path.name, path)
    loaded.set_weights([np.zeros_like(array) for array in loaded.get_weights()])
    loaded.load_weights(folder.pruned_weights)
    exports["weights"] = figures_of(folder.pruned_weights)
    paths["weights"] = folder.pruned_weights
    return exports, paths


def _keras3_file(
    form: Form, judge: Judge, folder: RunDir, network: tuple[str, dict[str, Any]]
) -> dict[str, Any]:
    """Writes and proves the Keras 3 file of a registry network."""
    (name, options), expected = network, judge.outputs_of(form.model)
    sample, weights = judge.inputs[:_SAMPLE], named_weights(form.model)
    path = folder.pruned_keras3
    shape, classes = sample.shape[1:], expected.shape[1]
    outputs = export_keras3(name, shape, classes, options, weights, path, sample)
    return _figures(path, outputs, expected, judge.labels) | {"zipped_bytes": zipped_bytes(path)}


def code_file(
    form: Form,
    judge: Judge,
    folder: RunDir,
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
    expected = judge.outputs_of(form.model)
    report = save_compressed(form.model, folder.coded, coder=coder, other_bits=other_bits)
    outputs = outputs_of(load_compressed(folder.coded), judge.inputs)
    figures = _figures(folder.coded, outputs, expected, judge.labels)
    figures["zipped_bytes"] = zipped_bytes(folder.coded)
    figures["stages"] = report.stages
    if other_bits == 32:
        require_same_outputs("tfprune", figures, expected)
    log_file("tfprune", figures)
    if form.masks is None:
        return {"tfprune": figures}, {}
    return {"tfprune": figures}, {"tfprune": audit(folder.coded, form.masks).verdict}


def _require_same_weights(path: Path, loaded: Any, model: Any) -> None:
    """Refuses a file whose weights differ from the model's in any bit."""
    pairs = zip(loaded.get_weights(), model.get_weights(), strict=True)
    if not all(a.tobytes() == b.tobytes() for a, b in pairs):
        raise TfpruneError(f"the exported file {path.name} holds other weights than the model")


def _figures(
    path: Path, outputs: np.ndarray, expected: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """The figures of a file that holds a Keras model, all but its zipped bytes.

    `outputs` are those of all inputs, or of the first few of a file with the model's own
    weights, whose accuracy is then that of the `expected` outputs.
    """
    judged = outputs if len(outputs) == len(expected) else expected
    return {
        "bytes": path.stat().st_size,
        "accuracy": float(np.mean(judged.argmax(axis=1) == labels)),
        "max_abs_difference": float(np.abs(outputs - expected[: len(outputs)]).max()),
        "latency_ms": None,
        "zeros": None,
    }
