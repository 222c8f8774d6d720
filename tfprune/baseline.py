"""The dense baseline: trained once, shared by every run that names the same one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfprune.run_dir import RunDir
from tfprune.setting import Setting
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
    model = setting.new_model(setting.config.dropout)
    history = train_stage(
        setting,
        baseline_folder(setting),
        "dense",
        setting.dense_flags,
        setting.dense_mark,
        model,
        setting.dense_plan(),
    )
    return model, history
