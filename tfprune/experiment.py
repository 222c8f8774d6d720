"""The story of one experiment, in stages.

    dense training -> control -> prune, first test -> retrain -> share weights -> export, code
        -> summary

Each stage leaves its result in a folder and is skipped when it stands (see `run_dir`), so
that the same command resumes an interrupted run. The dense baseline and the control are
trained once and shared by every run that names the same ones.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.atomic import write_text
from tfprune.baseline import baseline_folder, dense_model
from tfprune.config import Config
from tfprune.errors import TfpruneError
from tfprune.export.audit import audit, require_ok
from tfprune.figures import layer_contents, layer_figures, round_figures, training_figures
from tfprune.flag_field import text_of
from tfprune.logs import log_to
from tfprune.memory import peak_memory
from tfprune.pruning.curves import Proposal
from tfprune.pruning.masks import load_masks
from tfprune.pruning.pruner import prune
from tfprune.pruning_flags import prune_arguments, ramp_of
from tfprune.recipe import identity, recipe
from tfprune.reporting.console import console_row
from tfprune.reporting.ledger import ledger
from tfprune.reporting.summary import empty_summary, read_summary, write_summary
from tfprune.result_files import write_files
from tfprune.rounds import Round, prune_flags, rounds_of
from tfprune.run_dir import RunDir, fingerprint
from tfprune.scan import report_scan, scan
from tfprune.setting import Setting, configure_tensorflow
from tfprune.stages import (
    joined,
    protected_layers,
    prune_round,
    retrain_gradually,
    retrain_round,
    rewound,
    share_round,
    train_control,
)
from tfprune.training.distillation import Teacher
from tfprune.training.interrupt import InterruptedRunError
from tfprune.training.lockstep import follow, join, replicas_of

_LOG = logging.getLogger("tfprune")


def run(config: Config) -> dict[str, Any]:
    """Runs, or resumes, an experiment and returns its summary.

    A worker that is not the chief trains with it and returns nothing: see `lockstep`.

    Raises:
        TfpruneError: what the user can mend; see `errors`.
    """
    configure_tensorflow(config)
    if config.dry_run:
        with log_to(None):
            return dry_run(Setting(config))
    with replicas_of(config.strategy) as replicas:
        if not replicas.leads:
            follow(Setting(config, replicas))
            return {}
        with log_to(None):
            setting = Setting(config, replicas)  # flags that do not fit leave no folder behind
        folder = RunDir(config.run_path)
        with folder.locked(), log_to(folder.log):
            join(setting)
            _LOG.info("run folder %s", folder.path)
            return Experiment(setting, folder).run()


def dry_run(setting: Setting) -> dict[str, Any]:
    """Prints what the run would prune, from fresh or given weights, and trains nothing.

    Counts of the `global` and `stddev` allocations depend on the weights: on those of an
    untrained network they show the form, not the figures, of the run.
    """
    config = setting.config
    summary = empty_summary() | identity(config) | {"status": "dry run"}
    model = setting.new_model()
    if config.sparsity:
        model = prune(model, **prune_arguments(setting, model))
    summary |= layer_figures(model)
    _LOG.info("%s", console_row(summary))
    return summary


def _earlier(path: Path) -> dict[str, Any]:
    """What earlier sessions of the same run took: seconds in all, and memory at most."""
    try:
        found = read_summary(path)
    except TfpruneError:
        found = empty_summary()  # the first session
    peak = found["peak_memory_bytes"]
    return {"wall_seconds": found["wall_seconds"] or 0.0, "peak_memory_bytes": peak}


class Experiment:
    """One run, stage by stage; `summary` grows with each."""

    def __init__(self, setting: Setting, folder: RunDir) -> None:
        self.setting = setting
        self.config = setting.config
        self.folder = folder
        self.baseline = baseline_folder(setting)
        self.summary: dict[str, Any] = empty_summary() | identity(self.config)
        self.summary |= _earlier(folder.summary)
        self._since = time.monotonic()
        self._teacher: Teacher | None = None

    def run(self) -> dict[str, Any]:
        """Tells the story."""
        self._open()
        try:
            dense_weights = self.train_dense()
            control = self.train_control(dense_weights) if self.config.has_control else None
            self._teacher = self._teacher_of(control, dense_weights)
            del control  # no stage needs it but as the teacher
            if self.config.sparsity:
                model = self.prune_and_retrain(dense_weights)
            else:
                model = self._dense_model(dense_weights)
            self.summary |= layer_figures(model)
            if self.config.share_bits:
                self.share(model)
            if self.config.export or self.config.code:
                self.export(model, dense_weights)
            self.summary["ledger"] = ledger(layer_contents(model), self.summary["exports"] or {})
        except (InterruptedRunError, KeyboardInterrupt):
            self._end("interrupted")
            raise
        except TfpruneError:
            self._end("failed")
            raise
        self._write("complete")
        _LOG.info("\n%s", console_row(self.summary))
        self._fail_if_zeros_came_back()
        return self.summary

    def _open(self) -> None:
        """Refuses a folder of other flags before anything is written; then saves the flags."""
        setting, marks = self.setting, self._marks()
        flags = {
            # With its sparsity, so that what differs from a pruned run can be named.
            "dense": setting.dense_flags | {"sparsity": self.config.sparsity},
            "prune": setting.dense_flags | prune_flags(setting),
            "retrain": setting.student_flags,
            "share": setting.share_flags,
        }
        # A run without one of these stages would put its files in the place of that with it.
        for stage in ("dense", "prune", "retrain", "share"):
            self.folder.check(stage, flags[stage], marks.get(stage))
        for stage, mark in marks.items():
            self.folder.begin(stage, flags[stage], mark)
        write_text(self.folder.flags, self.config.to_flagfile())
        self.summary |= recipe(self.setting)
        self._write("running")

    def _marks(self) -> dict[str, str]:
        """Fingerprints of the stages whose result the run folder is to hold, by name."""
        setting = self.setting
        if self.config.sparsity:
            last = rounds_of(setting)[-1]
            marks = {"prune": last.prune_mark, "retrain": last.retrain_mark}
        else:
            marks = {"dense": setting.dense_mark}
        return marks | ({"share": self._share_mark} if self.config.share_bits else {})

    @property
    def _images(self) -> int:
        return len(self.setting.dataset.train.images)

    def train_dense(self) -> list[np.ndarray]:
        """Trains the baseline, or finds it; the user's own model is taken as it is."""
        model, history = dense_model(self.setting)
        self._note_dense(history[-1] if history else self.setting.evaluator(model)(), history)
        return model.get_weights()

    def _note_dense(self, accuracies: dict[str, Any], history: list[dict[str, Any]]) -> None:
        accuracy = accuracies[self.setting.judged_by]
        _LOG.info("dense: %s %.4f", self.setting.judged_by, accuracy)
        self.summary["dense_accuracy"] = accuracies["test_accuracy"]
        self.summary["dense_history"] = history or None
        if not self.config.sparsity:
            self.summary |= training_figures(history, accuracies, history, self._images)
        self._write("running")

    def train_control(self, dense_weights: list[np.ndarray]) -> Any:
        """Gives the unpruned baseline the same extra epochs, so that a loss has a measure."""
        setting = self.setting
        model, history = train_control(setting, self.baseline, dense_weights)
        self.summary["control_history"] = history
        self.summary["control_accuracy"] = history[-1]["test_accuracy"]
        _LOG.info("control: %s %.4f", setting.judged_by, history[-1][setting.judged_by])
        self._write("running")
        return model

    def _teacher_of(self, control: Any, dense_weights: list[np.ndarray]) -> Teacher | None:
        """What the pruned network learns from beside the labels, where it does."""
        config = self.config
        if not config.distill:
            return None
        unpruned = self._dense_model(dense_weights) if control is None else control
        return Teacher(unpruned, config.distill, config.distill_temperature)

    def prune_and_retrain(self, dense_weights: list[np.ndarray]) -> Any:
        """Follows the schedule to its end: one round, several, or one that prunes as it trains."""
        setting, config, teacher = self.setting, self.config, self._teacher
        model = setting.new_model(setting.retrain_flags["retrain_dropout"])
        model.set_weights(dense_weights)
        history: list[dict[str, Any]] = []
        for item in rounds_of(setting):
            before = len(history)
            if config.schedule == "gradual":
                model, history = retrain_gradually(setting, self.folder, item, model, teacher)
                self.summary["protected_layers"] = protected_layers(config, model)
                # The epoch in which the last weight goes ends at the target.
                before = ramp_of(setting).end_step // setting.retrain_steps
            else:
                model = self.prune_and_test(item, model)
                if config.rewind == "weights":
                    model = rewound(setting, model)
                then = retrain_round(setting, self.folder, item, model, teacher)
                history = joined(history, then)
            self._audit("retrained", item.stage("prune"), model)
            accuracies = history[-1] if len(history) > before else setting.evaluator(model)()
            at_target = history[before:]
            self.summary |= training_figures(history, accuracies, at_target, self._images)
            if at_target and config.schedule != "gradual":
                self.summary["first_epoch_accuracy"] = at_target[0]["test_accuracy"]
            if config.schedule == "iterative":
                self.summary |= layer_figures(model)
                row = round_figures(item.number, item.sparsity, len(at_target), self.summary)
                self.summary["rounds"] = [*(self.summary["rounds"] or []), row]
            self._write("running")
        return model

    def prune_and_test(self, item: Round, model: Any) -> Any:
        """Prunes for a round, and measures what is left before retraining."""
        _LOG.info("stage %s", item.stage("prune"))
        setting = self.setting
        scans = self.config.allocation == "sensitivity"
        propose = functools.partial(self._scan, model) if scans else None
        model, held = prune_round(setting, self.folder, item, model, propose)
        self._audit("pruned", item.stage("prune"), model)
        self.summary["first_test_accuracy"] = held["test_accuracy"]
        self.summary["protected_layers"] = protected_layers(self.config, model)
        self.summary |= layer_figures(model)
        if self.config.finds_sparsity:  # then this is what was asked for
            self.summary["target_sparsity"] = round(self.summary["group_sparsity"], 4)
        _LOG.info("first test, before retraining: %.4f", held[setting.judged_by])
        self._write("running")
        return model

    def _scan(self, dense: Any) -> Proposal:
        """What a sensitivity scan proposes for the budget, or without one for the target."""
        budget, sparsity = self.config.accuracy_budget, self.config.sparsity
        target = {"accuracy_budget": budget} if budget else {"sparsity": sparsity}
        found = scan(self.setting, self.baseline, dense)
        return report_scan(self.setting, self.folder, found, dense, [target])[0]

    @property
    def _share_mark(self) -> str:
        """Fingerprint of the network whose weights are shared."""
        setting = self.setting
        pruned = self.config.sparsity > 0
        before = rounds_of(setting)[-1].retrain_mark if pruned else setting.dense_mark
        return fingerprint(setting.share_flags, before)

    def share(self, model: Any) -> None:
        """Shares weights and trains their centroids; the model changes in place."""
        setting = self.setting
        _LOG.info("share weights: bits %s", text_of(self.config.share_bits))
        price, first, history = share_round(
            setting, self.folder, self._share_mark, model, self._teacher
        )
        last = history[-1] if history else first
        self.summary["share_rate"] = price
        self.summary["share_first_accuracy"] = first["test_accuracy"]
        self.summary["shared_accuracy"] = last["test_accuracy"]
        self.summary["share_history"] = history
        if setting.judged_by == "validation_accuracy":
            self.summary["validation_accuracy"] = last["validation_accuracy"]
        judge = setting.judged_by
        _LOG.info("shared at a price of %.3g: %s %.4f", price, judge, last[judge])
        if self.config.sparsity:
            self._audit("shared", "prune", model)
        self._write("running")

    def export(self, model: Any, dense_weights: list[np.ndarray]) -> None:
        """Writes every kind of file and proves each."""
        masks = self._masks() if self.config.sparsity else None
        found = write_files(self.setting, self.folder, model, masks, dense_weights)
        self.summary |= found | {"audit": (self.summary["audit"] or {}) | found["audit"]}

    def _dense_model(self, weights: list[np.ndarray]) -> Any:
        model = self.setting.new_model()
        model.set_weights(weights)
        return model

    def _audit(self, stage: str, pruned_in: str, model: Any) -> None:
        """Compares a model with the masks of a stage of pruning; one weight back ends the run."""
        report = audit(model, self._masks(pruned_in))
        self.summary["audit"] = (self.summary["audit"] or {}) | {stage: report.verdict}
        if report.verdict != "ok":
            _LOG.error("%s", report)
        require_ok(report)

    def _masks(self, pruned_in: str = "prune") -> dict[str, np.ndarray]:
        try:
            return load_masks(self.folder.masks_of(pruned_in))
        except TfpruneError as error:
            gradual = self.config.schedule == "gradual"  # then retraining found them
            record = str(self.folder.record("retrain" if gradual else pruned_in))
            raise TfpruneError(f"{error}; remove {record!r} to prune again") from None

    def _fail_if_zeros_came_back(self) -> None:
        bad = {k: v for k, v in (self.summary["audit"] or {}).items() if v != "ok"}
        if self.config.sparsity and bad:
            raise TfpruneError(f"the audit did not pass: {bad}")

    def _end(self, status: str) -> None:
        """Notes how the run ended, if the disk lets it."""
        with contextlib.suppress(TfpruneError):
            self._write(status)

    def _write(self, status: str) -> None:
        now = time.monotonic()
        self.summary["wall_seconds"] += now - self._since
        self._since = now
        peaks = (peak_memory(), self.summary["peak_memory_bytes"])
        self.summary["peak_memory_bytes"] = max((peak for peak in peaks if peak), default=None)
        self.summary["status"] = status
        write_summary(self.folder.summary, self.summary)
