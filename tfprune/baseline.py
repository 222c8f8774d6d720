"""The dense baseline: trained once, shared by every run that names the same one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.run_dir import RunDir, fingerprint
from tfprune.setting import Setting
from tfprune.training.checkpoint import save_arrays
from tfprune.training.stage import train_stage


def baseline_folder(setting: Setting) -> RunDir:
    """Where the baseline is kept, and what other runs of it can share."""
    config = setting.config
    name = f"{config.network}-{setting.dataset_label}-seed{config.seed}-{setting.dense_mark[:8]}"
    return RunDir(Path(config.runs_dir) / "baselines" / name)


def dense_model(setting: Setting) -> tuple[Any, list[dict[str, Any]]]:
    """The trained baseline and its history; the user's own model is taken as it is."""
    if setting.config.user_model is not None:
        return setting.new_model(), []
    config, folder = setting.config, baseline_folder(setting)
    model = setting.new_model(config.dropout)

    def keep(record: dict[str, Any]) -> None:
        """Keeps the weights of the epoch that `--rewind=weights` goes back to."""
        if config.rewind == "weights" and record["epoch"] == config.rewind_epoch:
            stage, mark = _early_stage(setting)
            save_arrays(folder.weights(stage), model.get_weights(), {})
            folder.finish(stage, setting.dense_flags, mark, {"history": [record]})

    flags, mark, plan = setting.dense_flags, setting.dense_mark, setting.dense_plan()
    history = train_stage(setting, folder, "dense", flags, mark, model, plan, after_epoch=keep)
    return model, history


def rewind_weights(setting: Setting) -> list[np.ndarray]:
    """The dense weights after `--rewind_epoch` epochs; 0: those of the initialisation.

    Dense training keeps them. Where it took place without being asked to, its first epochs
    are trained again: with `--deterministic` to the same bits, else nearly so.
    """
    model = setting.new_model(setting.config.dropout)
    epoch = setting.config.rewind_epoch
    if epoch:
        stage, mark = _early_stage(setting)
        plan = dataclasses.replace(setting.dense_plan(), stage=stage, epochs=epoch)
        folder, flags = baseline_folder(setting), setting.dense_flags
        train_stage(setting, folder, stage, flags, mark, model, plan)
    return model.get_weights()


def _early_stage(setting: Setting) -> tuple[str, str]:
    """Name and fingerprint of the dense weights that `--rewind=weights` goes back to."""
    epoch = setting.config.rewind_epoch
    return f"dense-epoch{epoch}", fingerprint({"epochs": epoch}, setting.dense_mark)
