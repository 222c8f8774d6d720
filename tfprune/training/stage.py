"""A stage of training in a run folder: found there, or done, logged and recorded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfprune.errors import TfpruneError
from tfprune.export.small_twin import small_twin
from tfprune.run_dir import RunDir
from tfprune.setting import Setting
from tfprune.training.checkpoint import CheckpointFolder, load_arrays, save_arrays
from tfprune.training.distillation import Teacher
from tfprune.training.loop import Trainer
from tfprune.training.plan import Plan
from tfprune.training.tensorboard import TensorBoard

_LOG = logging.getLogger("tfprune")


def train_stage(
    setting: Setting,
    folder: RunDir,
    stage: str,
    flags: dict[str, Any],
    mark: str,
    model: Any,
    plan: Plan,
    *,
    after_epoch: Callable[[dict[str, Any]], None] = lambda record: None,
    before_step: Callable[[int], int | None] | None = None,
    members: Mapping[str, np.ndarray] | None = None,
    teacher: Teacher | None = None,
    with_board: bool = True,
) -> list[dict[str, Any]]:
    """Trains a model by a plan, or loads the result that stands.

    Processes that need the same stage wait for the one that trains it.

    Args:
        setting: data, and what the run judges by.
        folder: where the result and the checkpoints are kept.
        stage: name of the stage in that folder.
        flags: the flags that shape it.
        mark: its fingerprint.
        model: a built model; afterwards it has the result's weights.
        plan: how to train it.
        after_epoch: is shown each new row of the history first, and may add to it.
        before_step: see `Trainer`.
        members: see `Trainer`.
        teacher: see `Trainer`.
        with_board: whether TensorBoard, if the run writes it, shows this stage.

    Returns:
        The history, an entry an epoch.
    """
    with folder.locked(stage, wait=True):
        held = folder.begin(stage, flags, mark)
        checkpoints = CheckpointFolder(folder.checkpoints, stage)
        if held is not None:
            _load_result(folder, stage, model)
            checkpoints.clear()  # a kill may have come between the record and this
            return held["history"]
        _LOG.info("stage %s", stage)
        small = small_twin(model) if before_step is None and members is None else None
        if small is not None:
            _LOG.info("trains without the dead units: %d of %d weights", *small.parameters[::-1])
        trainer = Trainer(
            model,
            plan,
            setting.dataset.train,
            setting.normalization,
            checkpoints,
            mark,
            show_progress=setting.config.progress,
            before_step=before_step,
            replicas=setting.replicas,
            members=members,
            small=small,
            teacher=teacher,
        )
        board = None
        if setting.config.tensorboard and with_board:
            texts = {"flags": setting.config.to_flagfile()}
            board = TensorBoard(folder.tensorboard / stage, model, texts)

        def observe(record: dict[str, Any]) -> None:
            after_epoch(record)
            _LOG.info("%s", _line(plan, record, setting.judged_by))
            if board is not None:
                board.epoch(record, len(setting.dataset.train.images))

        history = trainer.run(setting.evaluator(model), observe)
        save_arrays(folder.weights(stage), model.get_weights(), {})
        folder.finish(stage, flags, mark, {"history": history})
        checkpoints.clear()
        return history


def _load_result(folder: RunDir, stage: str, model: Any) -> None:
    """Gives a model the weights that a stage which stands ended with."""
    path = folder.weights(stage)
    try:
        arrays = load_arrays(path)[0]
        if [array.shape for array in arrays] != [tuple(each.shape) for each in model.weights]:
            raise TfpruneError(f"{str(path)!r} holds the weights of another model")
    except TfpruneError as error:
        record = str(folder.record(stage))
        raise TfpruneError(f"{error}; remove {record!r} to train this stage again") from None
    model.set_weights(arrays)


def _line(plan: Plan, record: dict[str, Any], judged_by: str) -> str:
    return (
        f"{plan.stage} {record['epoch']}/{plan.epochs}  loss {record['loss']:.4f}  "
        f"train {record['train_accuracy']:.4f}  "
        f"{judged_by.removesuffix('_accuracy')} {record[judged_by]:.4f}  "
        f"rate {record['learning_rate']:.2g}  {record['seconds']:.1f} s"
    )
