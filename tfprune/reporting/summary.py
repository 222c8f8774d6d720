"""The contract of `summary.json`: what a run found, in one small file.

Every key is named once, in `KEYS`, with its kind and its meaning. Accuracies and sparsities
are fractions in [0, 1]; a stage that did not take place is null, never a guess; no value is
NaN or infinite, since JSON knows neither; and no value is a path, so that the file can be
published as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfprune.atomic import write_text
from tfprune.errors import TfpruneError
from tfprune.reporting.kinds import HISTORY_KEYS, KINDS, LAYER_KEYS, ROUND_KEYS, is_number

SCHEMA = 1

#: The status of a run that went to its end; every other text is a run that did not.
COMPLETE = "complete"


class Key(NamedTuple):
    """One key of `summary.json`."""

    name: str
    kind: str
    meaning: str


_CONTRACT = (
    Key("schema", "count", "version of this contract; always 1"),
    Key("status", "text", "complete, or how far the run got: running, interrupted, ..."),
    Key("name", "text", "name of the run; the same for all its seeds"),
    Key("network", "text", "name of the network"),
    Key("dataset", "text", "name of the data set"),
    Key("group", "text", "layers under one target: conv, fc, all, or names; dense: none"),
    Key("allocation", "text", "how the target became layer sparsities: global, uniform, ..."),
    Key("criterion", "text", "what scored a weight: magnitude, ..."),
    Key("schedule", "text", "when weights were removed: one_shot, iterative, gradual"),
    Key("target_sparsity", "fraction", "fraction of the group's weights to remove"),
    Key("group_sparsity", "fraction", "fraction of the group's weights removed"),
    Key("model_sparsity", "fraction", "fraction of the model's weights removed"),
    Key("dense_accuracy", "fraction", "test accuracy of the baseline, before pruning"),
    Key("control_accuracy", "fraction", "the unpruned baseline after the same extra epochs"),
    Key("first_test_accuracy", "fraction", "right after pruning, before retraining"),
    Key("first_epoch_accuracy", "fraction", "after one epoch of retraining"),
    Key("final_accuracy", "fraction", "after the last epoch: the headline"),
    Key("best_accuracy", "fraction", "after the best epoch, chosen on the test set"),
    Key("best_epoch", "count", "that epoch, from 1"),
    Key("validation_accuracy", "fraction", "on images held out of the training set"),
    Key("epochs", "count", "epochs of dense training asked for"),
    Key("learning_rate", "number", "first learning rate of retraining (dense: of training)"),
    Key("lr_decay", "text", "its decay, as `0.1/50 epochs`; or none"),
    Key("batch_size", "count", "images a step of retraining (dense: of training)"),
    Key("optimizer", "text", "name of the optimizer"),
    Key("seed", "count", "seed of weights, shuffling, augmentation and dropout"),
    Key("history", "history", "retraining by epoch (dense: training): " + ", ".join(HISTORY_KEYS)),
    Key("rounds", "rounds", "one row a round of iterative pruning: " + ", ".join(ROUND_KEYS)),
    Key("layers", "layers", "one row a prunable layer: " + ", ".join(LAYER_KEYS)),
    Key("macs_dense", "count", "multiply-accumulates of one image, all weights"),
    Key("macs_pruned", "count", "multiply-accumulates of one image, kept weights"),
    Key(
        "ledger",
        "ledger",
        "bytes: dense_bytes (float32, all variables), parts, layers, files; see `ledger`",
    ),
    Key(
        "exports",
        "exports",
        "by kind of file: bytes, zipped_bytes, accuracy, max_abs_difference (of the outputs, "
        "from the Keras model's), latency_ms (one image, one thread), zeros (weights that are "
        "zero); of tfprune also stages (bytes by stage of compression); dense_tflite is the "
        "network before it was pruned",
    ),
    Key("audit", "mapping", "by stage: ok, failed or unverified"),
    Key("versions", "mapping", "version by package"),
    Key("machine", "mapping", "processor, cores, memory"),
    Key("wall_seconds", "number", "seconds of the whole run"),
    Key("images_per_second", "number", "training images a second"),
)

_ADDITIONAL = (
    Key("share_first_accuracy", "fraction", "weights shared, before their centroids are trained"),
    Key("shared_accuracy", "fraction", "weights shared and centroids trained: what files hold"),
    Key("share_history", "history", "training of the centroids by epoch"),
    Key("control_history", "history", "retraining of the control by epoch"),
    Key(
        "protected_layers",
        "texts",
        "layers left with a single weight (filter, block), which the last-weight rule keeps",
    ),
    Key(
        "shrunk",
        "shrunk",
        "what shrinking took out, pairs of before and after: parameters, macs, units by layer",
    ),
    Key("qat_history", "history", "quantization-aware training by epoch"),
    Key("dense_history", "history", "dense training by epoch"),
    Key("deterministic", "flag", "whether a rerun is equal to the bit"),
    Key("retrain_epochs", "count", "epochs of retraining asked for, of all rounds"),
    Key("peak_memory_bytes", "count", "largest resident memory of the run's process"),
    Key("rewind", "text", "what retraining went back to, as `weights, epoch 1`; or none"),
    Key("precision", "text", "what training multiplied in: float32 or bfloat16"),
    Key("share_rate", "number", "price of a bit at which weights were shared"),
    Key("teacher", "text", "what a distilled run learnt from, as `control, weight 0.5, ...`"),
)

#: Every key of `summary.json`, in the file's order. Those of `_ADDITIONAL` may be absent
#: from a file that is read.
KEYS: dict[str, Key] = {key.name: key for key in _CONTRACT + _ADDITIONAL}

#: What places a run in a table; never null.
IDENTITY = ("schema", "status", "name", "network", "group", "target_sparsity", "seed")


def empty_summary() -> dict[str, Any]:
    """A summary with every key: `schema` set, all others null."""
    return {**dict.fromkeys(KEYS), "schema": SCHEMA}


def write_summary(path: str | Path, summary: Mapping[str, Any]) -> None:
    """Writes `summary` to `path` in one step: the old file or the new one, never a part.

    NumPy numbers become plain ones and tuples become lists.

    Raises:
        TfpruneError: an unknown or missing key, a value of another kind than `KEYS` says,
            a NaN or an infinity, or a file that cannot be written.
    """
    plain = _plain(dict(summary))
    _check_keys(plain, path, KEYS)
    _check_values(plain, path)
    ordered = {name: plain[name] for name in KEYS}
    text = json.dumps(ordered, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text)


def read_summary(path: str | Path) -> dict[str, Any]:
    """Reads a `summary.json` and checks it against the contract.

    Additional keys that the file lacks are null in the result.

    Raises:
        TfpruneError: the file cannot be read, is truncated, is no summary, is of another
            schema version, or holds a value of the wrong kind; the message names the file.
    """
    try:
        return _read(path)
    except RecursionError:  # in the parser, or in looking at what it found
        raise TfpruneError(f"{path}: is nested too deeply for a summary") from None


def _read(path: str | Path) -> dict[str, Any]:
    try:
        summary = json.loads(Path(path).read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise TfpruneError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise TfpruneError(f"{path}: is no JSON, or is truncated: {error}") from None
    if not isinstance(summary, dict) or "schema" not in summary:
        raise TfpruneError(f"{path}: is no summary of a tfprune run: it has no key 'schema'")
    schema = summary["schema"]
    if is_number(schema) and schema > SCHEMA:
        raise TfpruneError(
            f"{path}: was written by a newer tfprune: this one reads schema {SCHEMA}; "
            f"received schema {schema}"
        )
    _check_keys(summary, path, [key.name for key in _CONTRACT])
    result = {**empty_summary(), **summary}
    _check_values(result, path)
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _plain(value: Any) -> Any:
    """The same value in JSON's own types, as far as it has a meaning there."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _check_keys(summary: Mapping[str, Any], path: str | Path, needed: Any) -> None:
    unknown = sorted(set(summary) - set(KEYS))
    missing = [name for name in needed if name not in summary]
    if unknown or missing:
        found = [f"unknown: {', '.join(unknown)}"] if unknown else []
        found += [f"missing: {', '.join(missing)}"] if missing else []
        raise TfpruneError(f"{path}: the keys are not those of a summary; {'; '.join(found)}")


def _check_values(summary: Mapping[str, Any], path: str | Path) -> None:
    _check_finite(summary, path, "")
    for name, key in KEYS.items():
        value = summary[name]
        if value is None and name not in IDENTITY:
            continue
        kind = KINDS[key.kind]
        if not kind.test(value):
            received = repr(value)
            shown = received if len(received) <= 120 else received[:117] + "..."
            raise TfpruneError(f"{path}: {name!r} must be {kind.wanted}; received {shown}")
    if summary["schema"] != SCHEMA:
        raise TfpruneError(f"{path}: 'schema' must be {SCHEMA}; received {summary['schema']}")


def _check_finite(value: Any, path: str | Path, place: str) -> None:
    """Refuses NaN, infinities and what JSON cannot hold, and says where it stands."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_finite(item, path, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_finite(item, path, f"{place}[{index}]")
    # NaN does not compare, and a whole number beyond all floats cannot be computed with.
    elif isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max:
        raise TfpruneError(f"{path}: {place} must be a finite number or null; received {value}")
    elif not (value is None or isinstance(value, (str, int, float))):
        raise TfpruneError(
            f"{path}: {place} must be a text, a number, true, false or null; "
            f"received {type(value).__name__}"
        )
