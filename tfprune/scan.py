"""The sensitivity scan as a stage: measured once a baseline, resumable point by point.

The scan lies in the baseline's folder, so that runs of other targets, budgets and
allocations find it; each run that uses it gets `sensitivity.json` and `sensitivity.png`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tfprune.atomic import atomic_path, write_text
from tfprune.data import Split, hold_out
from tfprune.pruning.curves import Proposal, Sensitivity
from tfprune.pruning.prunable import select
from tfprune.pruning.pruner import prune
from tfprune.pruning.sensitivity import sensitivity
from tfprune.reporting.sensitivity import (
    SCHEMA,
    console_text,
    from_record,
    proposal_row,
    to_record,
)
from tfprune.reporting.sensitivity_plot import sensitivity_plot
from tfprune.run_dir import RunDir, fingerprint
from tfprune.setting import Setting
from tfprune.training.evaluate import evaluator
from tfprune.training.interrupt import InterruptedRunError, Interruptible

_LOG = logging.getLogger("tfprune")

#: Share of the training images that judge where none are held out, and the least number,
#: where half of them are that many.
JUDGING_FRACTION, JUDGING_IMAGES = 0.1, 1000
#: The flags that decide what is scanned.
_FLAGS = ("group", "exclude_layers", "criterion", "sensitivity_sparsities")


def judging_images(setting: Setting) -> tuple[Split, str]:
    """The images that judge the scan, and what they are. The test set is never among them.

    Those held out by `--validation_fraction`; else a tenth of the training images, or 1000, or
    half of them where they are few. The baseline has seen these: its accuracy on them is a
    little too good, but what pruning takes away, with nothing retrained, is not fitted to them.
    """
    held_out = setting.dataset.validation
    if held_out is not None:
        return held_out, "held out of training"
    fraction = max(JUDGING_FRACTION, min(JUDGING_IMAGES / len(setting.dataset.train), 0.5))
    part = hold_out(setting.dataset, fraction).validation
    assert part is not None
    return part, "training images, which the baseline has seen"


def scan(setting: Setting, folder: RunDir, model: Any) -> Sensitivity:
    """Scans a trained model, or finds the scan.

    Args:
        setting: of the run.
        folder: the baseline's; partial and whole results are kept there.
        model: the trained model. It is not changed.

    Raises:
        InterruptedRunError: Ctrl-C or SIGTERM; what is measured is kept.
        TfpruneError: what the user can mend.
    """
    config = setting.config
    flags = {k: v for k, v in config.shaping("prune").items() if k in _FLAGS}
    mark = fingerprint(flags, setting.dense_mark)
    stage = f"sensitivity-{mark[:8]}"
    with folder.locked(stage, wait=True):
        held = folder.begin(stage, flags, mark)
        if held is not None:
            return from_record(held)
        partial = folder.checkpoints / f"{stage}-points.json"
        measured = _read_points(partial, mark)
        layers, ladder = config.group.split(","), config.sensitivity_sparsities
        group = select(model, layers, config.exclude_layers)
        total = 1 + len(group) * len(ladder)
        split, what = judging_images(setting)
        _LOG.info(
            "sensitivity: %d layers at %d sparsities, judged on %d images, %s",
            *(len(group), len(ladder), len(split), what),
        )

        @functools.cache
        def compiled(pruned: Any) -> Any:
            return evaluator(pruned, setting.normalization, split)

        with (
            Interruptible() as interruptible,
            tqdm(
                total=total, initial=len(measured), desc=stage, disable=not config.progress
            ) as bar,
        ):

            def keep(layer: str | None, sparsity: float, accuracy: float) -> None:
                measured[layer, sparsity] = accuracy
                _write_points(partial, mark, measured)
                bar.set_postfix_str(f"{layer} {sparsity:g}: {accuracy:.4f}" if layer else "dense")
                bar.update()
                if interruptible.received is not None:
                    where = f"sensitivity point {len(measured)} of {total}"
                    raise InterruptedRunError(interruptible.received, where)

            found = sensitivity(
                model,
                lambda pruned: compiled(pruned)(),
                layers=layers,
                exclude=config.exclude_layers,
                sparsities=ladder,
                criterion=config.criterion,
                seed=config.seed,
                measured=measured,
                on_point=keep,
            )
        folder.finish(stage, flags, mark, to_record(found))
        partial.unlink(missing_ok=True)
        return found


def report_scan(
    setting: Setting,
    folder: RunDir,
    found: Sensitivity,
    model: Any,
    targets: Sequence[Mapping[str, Any]],
) -> list[Proposal]:
    """Writes `sensitivity.json` and `sensitivity.png` into a run folder; logs the proposals.

    Args:
        setting: of the run.
        folder: the run's.
        found: the scan.
        model: the model scanned. Each proposal is measured on it, without retraining.
        targets: `{"accuracy_budget": ...}`, which the loss measured keeps to, or
            `{"sparsity": ...}`, each for one proposal.

    Returns:
        The proposals, in the order of `targets`.
    """
    config = setting.config
    split, what = judging_images(setting)
    wrapped = prune(model, 0.0, layers=list(found.sizes))
    dense, accuracy = wrapped.get_weights(), evaluator(wrapped, setting.normalization, split)

    measured: dict[tuple[tuple[str, float], ...], float] = {}

    def measure(proposed: Proposal) -> float:
        key = tuple(proposed.layer_sparsity.items())
        if key not in measured:  # the search for a budget has measured what it settles on
            wrapped.set_weights(dense)  # masks, too
            how: dict[str, Any] = {"criterion": config.criterion, "seed": config.seed}
            prune(wrapped, layer_sparsity=proposed.layer_sparsity, in_place=True, **how)
            measured[key] = accuracy()
        return measured[key]

    proposals, rows = [], []
    for target in targets:
        proposed = found.propose(**target, measure=measure)
        proposals.append(proposed)
        rows.append(proposal_row(found, proposed, target, measure(proposed)))
        _LOG.info("%s", console_text(rows[-1], proposed))
    record = {
        "schema": SCHEMA,
        **{"network": config.network, "dataset": config.dataset, "seed": config.seed},
        **{"group": config.group, "criterion": config.criterion},
        **{"judged_images": len(split), "judged_on": what},
        **to_record(found),
        "proposals": rows,
    }
    write_text(folder.sensitivity, json.dumps(record, indent=1, allow_nan=False) + "\n")
    title = f"{config.network} on {config.dataset}: sensitivity of its layers"
    with atomic_path(folder.sensitivity_plot) as temporary:
        temporary.write_bytes(sensitivity_plot(title, found, proposals[0] if proposals else None))
    return proposals


def _read_points(path: Path, mark: str) -> dict[tuple[str | None, float], float]:
    """The points of a scan in progress; none where there is no whole file of this scan."""
    with contextlib.suppress(FileNotFoundError):
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            if held["fingerprint"] == mark:
                return {(layer, float(s)): float(a) for layer, s, a in held["points"]}
        except (ValueError, KeyError, TypeError) as error:
            _LOG.warning("passing over %s, which is damaged: %s", path.name, error)
    return {}


def _write_points(path: Path, mark: str, points: dict[tuple[str | None, float], float]) -> None:
    rows = [[layer, sparsity, accuracy] for (layer, sparsity), accuracy in points.items()]
    write_text(path, json.dumps({"fingerprint": mark, "points": rows}) + "\n")
