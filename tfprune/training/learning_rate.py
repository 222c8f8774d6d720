"""Piecewise-constant learning rates, with linear warm-up."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class PiecewiseConstant:
    """rate(e) = first * decay_rate ** (number of boundaries <= e), e the epoch from 0.

    With `begin`, training starts at that epoch of the schedule: rate(begin + e).

    Boundaries stand at each multiple of `decay_epochs` (0: none) or are given. During the
    first `warmup_epochs` the rate is multiplied by (step + 1) / warm-up steps, so that
    the last warm-up step has the full rate.

    Attributes:
        first: the rate of epoch 0, > 0 (0 trains nothing).
        decay_rate: factor at each boundary, in [0, 1].
        decay_epochs: a boundary every this many epochs, 0 for none.
        boundaries: epochs at which a new rate begins, ascending; used if not empty.
        warmup_epochs: length of the warm-up, in epochs, may be fractional.
        begin: epoch of the schedule at which training begins (learning-rate rewinding).
    """

    first: float
    decay_rate: float = 0.1
    decay_epochs: int = 0
    boundaries: tuple[int, ...] = ()
    warmup_epochs: float = 0.0
    begin: int = 0

    def at_epoch(self, epoch: int) -> float:
        """The rate of an epoch of training (from 0), warm-up left aside."""
        epoch += self.begin
        if self.boundaries:
            passed = sum(boundary <= epoch for boundary in self.boundaries)
        else:
            passed = epoch // self.decay_epochs if self.decay_epochs else 0
        return self.first * self.decay_rate**passed

    def steps(self, epoch: int, steps_per_epoch: int) -> np.ndarray:
        """The rate of each step of an epoch: float32, shape (steps_per_epoch,)."""
        rates = np.full(steps_per_epoch, self.at_epoch(epoch))
        warmup_steps = round(self.warmup_epochs * steps_per_epoch)
        if warmup_steps:
            step = (self.begin + epoch) * steps_per_epoch + np.arange(steps_per_epoch)
            rates *= np.minimum(1.0, (step + 1) / warmup_steps)
        return rates.astype(np.float32)

    def __str__(self) -> str:
        """As the published tables write it: `0.1/50 epochs`, or none."""
        begin = f", from epoch {self.begin}" if self.begin else ""
        if self.boundaries:
            return f"{self.decay_rate:g} at epochs {', '.join(map(str, self.boundaries))}{begin}"
        if self.decay_epochs:
            return f"{self.decay_rate:g}/{self.decay_epochs} epochs{begin}"
        return "none"
