"""The last stage of a run: every file of its result, and the dense one they are compared with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.baseline import baseline_folder
from tfprune.export.files import code_file, export_files
from tfprune.export.form import Form, forms_of, shrink_figures
from tfprune.export.tflite_files import Judge, tflite_file
from tfprune.memory import give_back_freed_memory
from tfprune.pruning.pruner import strip
from tfprune.run_dir import RunDir, file_hash
from tfprune.setting import Setting
from tfprune.stages import train_quantized
from tfprune.training.inputs import NormalizedImages

_LOG = logging.getLogger("tfprune")


def write_files(
    setting: Setting,
    folder: RunDir,
    model: Any,
    masks: Mapping[str, np.ndarray] | None,
    dense_weights: list[np.ndarray],
) -> dict[str, Any]:
    """Writes the files the flags ask for; each is loaded, run, compared, its zeros counted.

    Args:
        setting: of the run.
        folder: where they go.
        model: the result, wrapped or plain.
        masks: what has to be zero in them; None for a network that was not pruned.
        dense_weights: of the network before it was pruned.

    Returns:
        `shrunk`, `qat_history`, `exports` and `audit` as `summary.json` holds them.

    Raises:
        TfpruneError: a file cannot be written, or does not compute what the model does.
    """
    config, split = setting.config, setting.judging_split
    inputs = NormalizedImages(split.images, setting.normalization)
    judge = Judge(inputs, split.labels, setting.calibration(), config.threads or None)
    found: dict[str, Any] = {"shrunk": None, "qat_history": None, "exports": {}, "audit": {}}

    give_back_freed_memory()  # of training
    if config.export:
        _LOG.info("stage export")
        forms, shrunk = forms_of(model, masks)
        found["shrunk"] = shrink_figures(shrunk)
        if shrunk is not None:
            _LOG.info("%s", shrunk)
        elif masks is not None:
            _LOG.info("shrink: no unit is dead, nothing to take out")
        aware = None
        if "qat" in config.quantize:
            last = forms[-1]
            aware, found["qat_history"] = train_quantized(setting, folder, last.model, last.masks)
        found["exports"], found["audit"] = export_files(
            forms,
            judge,
            folder,
            None if config.user_model else (config.model, setting.options()),
            kinds=config.quantize,
            dense=_dense_file(setting, judge, dense_weights) if config.sparsity else None,
            aware=aware,
        )
    else:
        forms = [Form("pruned", strip(model), masks)]
    if config.code:
        _LOG.info("stage code")
        coder, other_bits = config.coder, config.other_bits
        exports, audits = code_file(forms[0], judge, folder, coder=coder, other_bits=other_bits)
        found["exports"] |= exports
        found["audit"] |= audits
        warn_if_larger(exports["tfprune"]["bytes"], config.share_bytes)
    return found


def warn_if_larger(there: int, wanted: int) -> None:
    """Says that a coded file has more bytes than `--share_bytes` asks for (0: nothing)."""
    if wanted and there > wanted:
        _LOG.warning(
            "model.tfprune has %d bytes, more than --share_bytes=%d: training changed the order of "
            "its centroids, and with it their code",
            *(there, wanted),
        )


def _dense_file(
    setting: Setting, judge: Judge, weights: list[np.ndarray]
) -> tuple[Path, dict[str, Any]]:
    """The TFLite file of the network before it was pruned, and its figures, not yet timed.

    Written once, in the baseline's folder, for all runs that share it.
    """
    folder, stage = baseline_folder(setting), "tflite"
    flags, mark, path = setting.dense_flags, setting.dense_mark, folder.dense_tflite
    with folder.locked(stage, wait=True):
        held = folder.begin(stage, flags, mark)
        if held is not None and path.is_file() and file_hash(path) == held["file_hash"]:
            return path, held["figures"]
        model = setting.new_model()
        model.set_weights(weights)
        figures = tflite_file("dense_tflite", path, model, "float32", judge)
        result = {"file_hash": file_hash(path), "figures": figures}
        folder.finish(stage, flags, mark, result)
    return path, figures
