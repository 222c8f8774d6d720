"""Schedules: how much of a group is removed when. Pure Python.

`PolynomialSchedule` says it for gradual pruning, step by step; `round_sparsities` for
iterative pruning, round by round.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tfprune.errors import UsageError

#: What a schedule is: a training step (from 0) -> (is an update due?, sparsity).
Schedule = Callable[[int], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class PolynomialSchedule:
    """Sparsity that rises fast at first and slows down towards its end.

        s(t) = s_f + (s_i - s_f) (1 - (t - t_0) / (t_1 - t_0)) ** p

    for steps t from t_0 to t_1, clipped outside. An update is due at t_0, every `frequency`
    steps after it, and at t_1 itself, so that the final sparsity is always reached (TFMOT's
    `PolynomialDecay` leaves out a last step that is no multiple of its frequency).

    Args:
        final_sparsity: s_f, fraction of the group's weights removed from t_1 on, in [0, 1).
        end_step: t_1, the step before which the last update is made, > t_0.
        begin_step: t_0, the step before which the first update is made, >= 0.
        initial_sparsity: s_i, in [0, s_f].
        power: p, > 0; 3 is the cubic of the paper, 1 a straight line.
        frequency: steps from one update to the next, >= 1.

    Raises:
        UsageError: a value out of its range.

    Source: Zhu & Gupta 2017, To prune, or not to prune, section 3.
    """

    final_sparsity: float
    end_step: int
    begin_step: int = 0
    initial_sparsity: float = 0.0
    power: float = 3.0
    frequency: int = 100

    def __post_init__(self) -> None:
        for name, holds, wanted in (
            ("final_sparsity", 0 <= self.final_sparsity < 1, "in [0, 1)"),
            (
                "initial_sparsity",
                0 <= self.initial_sparsity <= self.final_sparsity,
                f"in [0, final_sparsity={self.final_sparsity}]",
            ),
            ("begin_step", self.begin_step >= 0, ">= 0"),
            ("end_step", self.end_step > self.begin_step, f"> begin_step={self.begin_step}"),
            ("power", 0 < self.power < math.inf, "> 0"),
            ("frequency", self.frequency >= 1, ">= 1"),
        ):
            if not holds:
                raise UsageError(f"{name} must be {wanted}. Received: {getattr(self, name)!r}")

    def __call__(self, step: int) -> tuple[bool, float]:
        """Whether an update is due before a step (from 0), and the sparsity then."""
        done = (step - self.begin_step) / (self.end_step - self.begin_step)
        rest = (1 - min(1.0, max(0.0, done))) ** self.power
        sparsity = self.final_sparsity + (self.initial_sparsity - self.final_sparsity) * rest
        return step == self._due_from(step), sparsity

    def next_update(self, step: int) -> int | None:
        """The first step after `step` before which an update is due; None after the last."""
        return self._due_from(step + 1)

    def _due_from(self, step: int) -> int | None:
        """The first of `step` and those after it before which an update is due."""
        if step > self.end_step:
            return None
        after = max(0, step - self.begin_step)
        return min(self.begin_step + -(-after // self.frequency) * self.frequency, self.end_step)


def update_at(schedule: Schedule, step: int) -> float | None:
    """The sparsity that is due at a step by any schedule, or None where none is.

    Args:
        schedule: a `PolynomialSchedule`, a TFMOT `PruningSchedule`, or your own function from
            step to (is an update due?, sparsity). Tensors will do. A float32 sparsity is read
            as the shortest decimal that it stands for (0.9, not 0.89999998), so that counts
            are exact.
        step: the number of training steps done.

    Raises:
        UsageError: the schedule gives something else.
    """
    answer = schedule(step)
    try:
        due, sparsity = answer
        value = np.asarray(sparsity)
        exact = float(str(value)) if value.dtype == np.float32 else float(value)
        return exact if bool(np.asarray(due)) else None
    except (TypeError, ValueError):
        raise UsageError(
            "a schedule maps a step to (is an update due?, sparsity), as TFMOT's do. "
            f"Received at step {step}: {answer!r}"
        ) from None


def round_sparsities(sparsity: float, rounds: int) -> list[float]:
    """Sparsity after each round of iterative pruning: s_i = 1 - (1 - s) ** (i / K).

    The density falls by the same factor in each round (Frankle & Carbin 2019, section 2).

    Args:
        sparsity: s, that after the last round, in [0, 1); s_K is exactly this.
        rounds: K, >= 1.
    """
    early = [1 - (1 - sparsity) ** (number / rounds) for number in range(1, rounds)]
    return [*early, sparsity]
