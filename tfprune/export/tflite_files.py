"""The TFLite files of a run, each proven, and all timed together.

Every file is loaded in LiteRT, run on all judging images, its zeros counted in the
flatbuffer and compared with the masks. Float32 files also have to compute what the model
does; what the others lose by rounding, their accuracy says.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.atomic import atomic_path
from tfprune.errors import TfpruneError
from tfprune.export.audit import audit
from tfprune.export.form import Form
from tfprune.export.interpreter import Inputs, latencies_ms
from tfprune.export.tflite import export_tflite, measure_export
from tfprune.run_dir import RunDir

_LOG = logging.getLogger("tfprune")

#: Largest output difference, relative to the largest output, between a file that holds the
#: same float32 weights and the model it was written from.
TOLERANCE = 1e-3
#: Timed runs of each file.
_ROUNDS = 100
_BATCH = 500


def outputs_of(model: Any, inputs: Inputs) -> np.ndarray:
    """(N, classes): what a Keras model gives for inputs, of which one batch is made at a time."""
    starts = range(0, len(inputs), _BATCH)
    return np.concatenate([model.predict_on_batch(inputs[i : i + _BATCH]) for i in starts])


@dataclass(frozen=True)
class Judge:
    """What files are judged on.

    Attributes:
        inputs: (N, H, W, C) float32, all judging images, normalised; slices of them are taken.
        labels: (N,) class numbers.
        calibration: (n, H, W, C) some of the training split, normalised, for int8 ranges.
        threads: CPU threads that run TFLite files; None: one for each core.
    """

    inputs: Inputs
    labels: np.ndarray
    calibration: np.ndarray
    threads: int | None = None
    _known: dict[int, tuple[Any, np.ndarray]] = field(default_factory=dict, repr=False)

    def outputs_of(self, model: Any) -> np.ndarray:
        """(N, classes): what a Keras model gives for all inputs; run once for each model."""
        if id(model) not in self._known:
            outputs = outputs_of(model, self.inputs)
            self._known[id(model)] = (model, outputs)  # kept, so that no other gets its id
        return self._known[id(model)][1]


def tflite_file(name: str, path: Path, model: Any, kind: str, judge: Judge) -> dict[str, Any]:
    """Writes a TFLite file and runs it on all judging images: its figures, not yet timed.

    Args:
        name: what `exports` calls it.
        path: where it goes.
        model: a plain model; one that `quantize_aware` made for "qat".
        kind: "float32" or one that `tflite_files` knows.
        judge: what it is judged on.

    Raises:
        TfpruneError: the file cannot be written, or does not compute what the model does.
    """
    words = set(kind.split("+"))
    quantize = next(iter(words - {"float32", "sparse"}), None)
    export_tflite(
        model,
        path,
        quantize=quantize,
        sparse="sparse" in words,
        representative_data=judge.calibration,
    )
    expected = judge.outputs_of(model)
    figures = measure_export(
        path, expected, judge.inputs, judge.labels, timed=False, threads=judge.threads
    )
    if quantize is None:
        require_same_outputs(name, figures, expected)
    log_file(name, figures)
    return figures


def tflite_files(
    forms: Sequence[Form],
    kinds: Sequence[str],
    judge: Judge,
    folder: RunDir,
    dense: tuple[Path, dict[str, Any]] | None = None,
    aware: Any = None,
) -> tuple[dict[str, Path], dict[str, dict[str, Any]], dict[str, str]]:
    """Writes the TFLite files of a run.

    A float32 file of each form, and one of each kind of the last form, the smallest.

    Args:
        forms: what to export.
        kinds: "float16", "dynamic", "int8", "qat", and "sparse" or "sparse+float16".
        judge: what they are judged on.
        folder: where they go.
        dense: the proven file of the network before it was pruned and its figures; it is
            copied, for comparison.
        aware: the model that `quantize_aware` made of the last form, trained, for "qat".

    Returns:
        The files' paths, and `exports` and `audit` as `summary.json` holds them, but for the
        latencies: see `time_files`.

    Raises:
        TfpruneError: a file cannot be written, or does not compute what the model does.
    """
    paths: dict[str, Path] = {}
    exports: dict[str, dict[str, Any]] = {}
    audits: dict[str, str] = {}

    def add(form: Form, kind: str, model: Any) -> None:
        suffix = "" if kind == "float32" else f"_{kind.replace('+', '_')}"
        name, path = form.kind(f"tflite{suffix}"), folder.tflite_of(form.name, kind)
        paths[name], exports[name] = path, tflite_file(name, path, model, kind, judge)
        if form.masks is not None:
            audits[name] = audit(path, form.masks).verdict

    if dense is not None:
        with atomic_path(folder.dense_tflite) as temporary:
            shutil.copyfile(dense[0], temporary)
        paths["dense_tflite"], exports["dense_tflite"] = folder.dense_tflite, dict(dense[1])
    for form in forms:
        add(form, "float32", form.model)
    for kind in kinds:
        add(forms[-1], kind, aware if kind == "qat" else forms[-1].model)
    return paths, exports, audits


def time_files(
    paths: Mapping[str, Path], exports: Mapping[str, dict[str, Any]], judge: Judge
) -> None:
    """Times files together, in turns, and notes each one's `latency_ms` in its figures."""
    for name, latency in latencies_ms(paths, judge.inputs, rounds=_ROUNDS).items():
        exports[name]["latency_ms"] = latency


def require_same_outputs(kind: str, figures: Mapping[str, Any], expected: np.ndarray) -> None:
    """Refuses a file with float32 weights that computes something else than the model.

    Raises:
        TfpruneError: its outputs differ by more than rounding.
    """
    scale = max(1.0, float(np.abs(expected).max()))
    if not figures["max_abs_difference"] <= TOLERANCE * scale:
        raise TfpruneError(
            f"the exported {kind} file computes something else than the model: outputs "
            f"differ by up to {figures['max_abs_difference']:.3g} (largest {scale:.3g})"
        )


def log_file(kind: str, figures: Mapping[str, Any]) -> None:
    """Says what was written."""
    _LOG.info("exported %s: %s bytes, %.4f", kind, figures["bytes"], figures["accuracy"])
