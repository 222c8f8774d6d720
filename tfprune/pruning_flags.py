"""What the flags of pruning stand for: arguments of `tfprune.prune`, a ramp; checks of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.config import Config
from tfprune.errors import UsageError
from tfprune.pruning.criteria import CRITERIA
from tfprune.pruning.curves import Proposal
from tfprune.pruning.prunable import select
from tfprune.pruning.pruner import check_prune
from tfprune.pruning.schedule import PolynomialSchedule
from tfprune.training.objective import Objective

if TYPE_CHECKING:
    from tfprune.setting import Setting


def check_pruning(setting: Setting, model: Any) -> None:
    """Refuses what flags, network and data decide, whatever the weights are worth.

    Args:
        setting: of the run.
        model: of its network, with any weights.

    Raises:
        UsageError: a group, a target or a ramp that pruning could not follow.
    """
    config = setting.config
    if config.allocation == "sensitivity":  # what is asked of each layer, the scan will tell
        select(model, **group_of(config))
        return
    check_prune(model, **prune_arguments(setting, model))
    if config.schedule == "gradual":
        end, steps = ramp_of(setting).end_step, setting.retrain_steps
        if end >= config.retrain_epochs * steps:
            raise UsageError(
                "--schedule=gradual removes the last weights before a step of retraining: "
                f"--gradual_epochs must end before step {config.retrain_epochs * steps}, and an "
                f"epoch has {steps}; received {config.ramp_epochs:g}, which is step {end}"
            )


def ramp_of(setting: Setting) -> PolynomialSchedule:
    """The schedule of gradual pruning, in steps of retraining.

    It leads to --sparsity. Layers that have targets of their own take from it what part of them
    is due: sparsity / --sparsity.
    """
    config = setting.config
    return PolynomialSchedule(
        config.sparsity,
        end_step=max(1, round(config.ramp_epochs * setting.retrain_steps)),
        frequency=config.gradual_interval,
    )


def prune_arguments(
    setting: Setting,
    model: Any,
    sparsity: float | None = None,
    proposed: Proposal | None = None,
) -> dict[str, Any]:
    """The arguments of `tfprune.prune` that the flags stand for.

    Args:
        setting: of the run.
        model: the one to prune.
        sparsity: of the group, instead of `--sparsity`; where layers have their own, they get
            the same part of it.
        proposed: what a sensitivity scan proposes instead of any target.
    """
    config = setting.config
    if proposed is not None:
        chosen = {"layer_sparsity": proposed.layer_sparsity, "criterion": config.criterion}
        return chosen | {"seed": config.seed}
    decided = config.finds_sparsity and not config.accuracy_budget
    target = config.sparsity if sparsity is None else sparsity
    layers = config.sparsity_by_layer()
    if target != config.sparsity:  # part of the way there
        layers = {name: s * (target / config.sparsity) for name, s in layers.items()}
    return {
        "sparsity": None if decided or config.allocation == "explicit" else target,
        **group_of(config),
        "allocation": config.allocation,
        "layer_sparsity": layers or None,
        "quality": config.stddev_quality or None,
        "target_bytes": config.target_bytes or None,
        "target_macs": config.target_macs or None,
        "granularity": config.granularity,
        "criterion": config.criterion,
        "criterion_rounds": config.criterion_rounds or None,
        **criterion_data(setting, model),
        "seed": config.seed,
    }


def criterion_data(setting: Setting, model: Any) -> dict[str, Any]:
    """The arguments of `tfprune.prune` for a criterion of the loss: images, and the loss.

    `--criterion_images` of the training split, drawn by `--seed`, not augmented, and the
    loss that training minimises.
    """
    config = setting.config
    if CRITERIA[config.criterion].gradient != "loss":
        return {}
    split = setting.dataset.train
    order = np.random.default_rng(config.seed).permutation(len(split))
    drawn = np.sort(order[: config.criterion_images])
    images = setting.normalization(split.images[drawn]).numpy()
    loss = Objective(model, config.label_smoothing).loss
    return {"data": (images, split.labels[drawn]), "loss": loss}


def group_of(config: Config) -> dict[str, Any]:
    """The arguments of `tfprune.prune` that name the group."""
    return {"layers": config.group.split(","), "exclude": config.exclude_layers}
