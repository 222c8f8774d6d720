"""What `summary.json` says of a run before anything is trained: its identity and its recipe."""

from __future__ import annotations

from typing import Any

from tfprune.config import Config
from tfprune.machine import machine, versions
from tfprune.rounds import rounds_of
from tfprune.setting import Setting


def identity(config: Config) -> dict[str, Any]:
    """The keys that place a run in a table."""
    return {
        "status": "running",
        "name": config.run_name,
        "network": config.network,
        "dataset": config.dataset,
        "group": config.group if config.sparsity else "dense",
        "target_sparsity": config.sparsity,
        "seed": config.seed,
    }


def recipe(setting: Setting) -> dict[str, Any]:
    """The keys that say how it is trained and pruned, by which flags, versions and machine."""
    config = setting.config
    pruned = config.sparsity > 0
    rounds = rounds_of(setting) if pruned else []
    plan = rounds[-1].plan if pruned else setting.dense_plan()
    return {
        "allocation": config.allocation_label if pruned else None,
        "criterion": config.criterion if pruned else None,
        "schedule": config.schedule if pruned else None,
        "rewind": _rewind(config) if pruned else None,
        "teacher": _teacher(config),
        "epochs": 0 if config.user_model else config.epochs,
        "retrain_epochs": sum(item.plan.epochs for item in rounds),
        "learning_rate": plan.rate.at_epoch(0),
        "lr_decay": str(plan.rate),
        "batch_size": plan.batch_size,
        "optimizer": config.optimizer,
        "deterministic": config.deterministic,
        "precision": setting.precision,
        "versions": versions(),
        "machine": machine(),
    }


def _rewind(config: Config) -> str:
    """What the summary says of rewinding: "weights, epoch 1", "rate, epoch 0", or "none"."""
    return "none" if config.rewind == "none" else f"{config.rewind}, epoch {config.rewind_epoch}"


def _teacher(config: Config) -> str | None:
    """What the summary says of the teacher: "control, weight 0.5, temperature 2", or None."""
    if config.teacher is None:
        return None
    weight, temperature = config.distill, config.distill_temperature
    return f"{config.teacher}, weight {weight:g}, temperature {temperature:g}"
