"""Which flags of the schedules and of rewinding go together; `config` asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfprune.errors import UsageError

if TYPE_CHECKING:
    from tfprune.config import Config

_NEEDS = {
    "rounds": "iterative",
    "round_epochs": "iterative",
    "gradual_epochs": "gradual",
    "gradual_interval": "gradual",
}
#: Flags of the learning rate of retraining, which --rewind replaces.
_RETRAIN_RATE = (
    "retrain_learning_rate",
    "retrain_lr_decay_rate",
    "retrain_lr_decay_epochs",
    "retrain_lr_boundaries",
    "retrain_lr_warmup_epochs",
)


def check_schedule(config: Config) -> None:
    """Refuses flags of another schedule, and targets that no schedule can lead up to."""
    for name, schedule in _NEEDS.items():
        if config.schedule != schedule and _given(config, name):
            raise UsageError(
                f"--{name} needs --schedule={schedule}; received --{name}={_shown(config, name)} "
                f"--schedule={config.schedule}"
            )
    if config.schedule == "one_shot":
        return
    for name in ("layer_sparsity", "stddev_quality"):
        if _given(config, name):
            raise UsageError(
                f"--schedule={config.schedule} leads up to one --sparsity for the group, so that "
                f"--{name} does not go with it; received {_shown(config, name)}"
            )
    if config.allocation == "sensitivity":
        raise UsageError(
            f"--schedule={config.schedule} allocates anew whenever it removes weights; "
            "--allocation=sensitivity proposes for the dense network once: --schedule=one_shot"
        )
    if config.schedule == "gradual" and config.ramp_epochs >= config.retrain_epochs:
        raise UsageError(
            "--schedule=gradual removes the last weights while it retrains: --gradual_epochs must "
            f"be less than --retrain_epochs; received {config.gradual_epochs:g} and "
            f"{config.retrain_epochs}"
        )


def check_rewind(config: Config) -> None:
    """Refuses rewinding to where nothing is, and learning rates beside those it replays."""
    if config.rewind == "none":
        if config.rewind_epoch:
            raise UsageError(
                "--rewind_epoch needs --rewind=rate or weights; received "
                f"--rewind_epoch={config.rewind_epoch}"
            )
        return
    if config.rewind_epoch > config.epochs:
        raise UsageError(
            f"--rewind_epoch must be at most --epochs={config.epochs}; received "
            f"{config.rewind_epoch}"
        )
    if config.user_model is not None:
        raise UsageError(
            "--rewind goes back in the dense training, which a given model has behind it; "
            f"received --rewind={config.rewind} --model={config.model}"
        )
    if config.rewind == "weights" and config.schedule == "gradual":
        raise UsageError(
            "--rewind=weights needs masks that stand before retraining begins: "
            "--schedule=one_shot or iterative; received --schedule=gradual"
        )
    for name in _RETRAIN_RATE:
        if _given(config, name):
            raise UsageError(
                f"--rewind={config.rewind} takes the learning rates of dense training, so that "
                f"--{name} does not go with it; received {_shown(config, name)}"
            )


def _given(config: Config, name: str) -> bool:
    return getattr(config, name) != type(config).__dataclass_fields__[name].default


def _shown(config: Config, name: str) -> str:
    value: Any = getattr(config, name)
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
