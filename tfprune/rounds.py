"""Rounds: what one pruning and the retraining after it are, for every schedule.

One-shot and gradual pruning have one round; iterative pruning has `--rounds` of them, each
from where the one before it ended. The files and marks of the last round have the names
that those of a single round have.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tfprune.pruning.schedule import round_sparsities
from tfprune.run_dir import fingerprint
from tfprune.setting import Setting
from tfprune.training.loop import Plan


@dataclasses.dataclass(frozen=True)
class Round:
    """One round.

    Attributes:
        number: from 1.
        last: whether it is the last one.
        sparsity: of the group after this round (what tables call the target, where layers
            or a quality decide).
        plan: how the network is retrained in it, and the control beside it.
        prune_mark: fingerprint of the network when it is pruned.
        retrain_mark: fingerprint of the retrained network.
        control_mark: fingerprint of the control after this round.
    """

    number: int
    last: bool
    sparsity: float
    plan: Plan
    prune_mark: str
    retrain_mark: str
    control_mark: str

    def stage(self, what: str) -> str:
        """Name of a stage of this round in the run folder: "retrain", or "retrain-round1"."""
        return what if self.last else f"{what}-round{self.number}"


def prune_flags(setting: Setting) -> dict[str, Any]:
    """The flags that shape what is pruned: those of retraining too, where rounds repeat it."""
    again = setting.student_flags if setting.config.schedule == "iterative" else {}
    return setting.config.shaping("prune") | again


def rounds_of(setting: Setting) -> list[Round]:
    """The rounds of a run, in order.

    Round i of K is trained as `--round_epochs` and the rates of retraining say, the last one
    for `--retrain_epochs`. A control goes through the same rounds without being pruned; where
    the weights are rewound, the last round alone makes it, since each begins at the same
    weights.
    """
    config = setting.config
    count = config.rounds if config.schedule == "iterative" else 1
    if config.schedule == "iterative":
        sparsities = round_sparsities(config.sparsity, count)
    else:
        sparsities = [config.sparsity]
    rounds: list[Round] = []
    before, control = setting.dense_mark, setting.dense_mark
    for number, sparsity in enumerate(sparsities, 1):
        last = number == count
        label = f"retrain-round{number}" if count > 1 else "retrain"
        prune_mark = fingerprint(prune_flags(setting), before)
        before = fingerprint(setting.student_flags, prune_mark)
        control = fingerprint(setting.retrain_flags, control)
        rounds.append(
            Round(
                number=number,
                last=last,
                sparsity=sparsity,
                plan=dataclasses.replace(setting.retrain_plan(number, last=last), stage=label),
                prune_mark=prune_mark,
                retrain_mark=before,
                control_mark=control,
            )
        )
    return rounds


def control_rounds(setting: Setting) -> list[Round]:
    """The rounds that the control goes through."""
    rounds = rounds_of(setting)
    return rounds[-1:] if setting.config.rewind == "weights" else rounds
