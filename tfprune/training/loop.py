"""The training loop: many steps a call of one graph, resumable at any step.

The training set lives in memory as one uint8 tensor. A call of the graph receives the
image numbers of some hundred steps, and gathers, augments, normalises and trains in a
loop that never returns to Python in between; small networks are bound by exactly that.
Weights, shuffling, augmentation and dropout of a step are functions of (seed, stage,
epoch, step) and of the weights before it, so that a run that was killed and resumed is
equal to one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from tfprune.data import Split
from tfprune.errors import TfpruneError
from tfprune.export.small_twin import SmallTwin
from tfprune.training.checkpoint import CheckpointFolder, Progress
from tfprune.training.distillation import Teacher
from tfprune.training.distribution import ONE_DEVICE, Replicas
from tfprune.training.inputs import Normalization
from tfprune.training.interrupt import InterruptedRunError, Interruptible
from tfprune.training.lockstep import steps_of
from tfprune.training.plan import Plan
from tfprune.training.randomness import epoch_order, stage_key

#: Seconds between two looks at the outside world (progress bar, signals).
_CALL_SECONDS = 0.5
#: A checkpoint inside an epoch is written when the last one is this old.
_CHECKPOINT_SECONDS = 300


class Trainer:
    """Trains one model by one plan and keeps its checkpoints."""

    def __init__(
        self,
        model: Any,
        plan: Plan,
        train: Split,
        normalization: Normalization,
        checkpoints: CheckpointFolder,
        fingerprint: str,
        *,
        show_progress: bool = True,
        replicas: Replicas = ONE_DEVICE,
        before_step: Callable[[int], int | None] | None = None,
        members: Mapping[str, np.ndarray] | None = None,
        small: SmallTwin | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        """Prepares training; nothing is read or run yet.

        Args:
            model: a built Keras classifier; its weights change in place.
            plan: how to train it.
            train: the training images.
            normalization: pixels to model inputs.
            checkpoints: where progress is kept.
            fingerprint: identifies flags and inputs; only its own checkpoints are resumed.
            show_progress: whether to show a bar for each epoch.
            before_step: is called with the number of a step (from 0, over all epochs) before
                it is run, may change weights and masks, and gives the next step before which
                it wants to be called, or None for no more. The first call is before the step
                at which training begins or resumes.
            replicas: what computes.
            members: of centroids, which then train in the place of their kernels: see `Steps`.
            small: the model's small twin, which then trains in its place: see `Steps`.
            teacher: what the model learns from beside the labels: see `Steps`.

        Raises:
            UsageError: a batch size that does not fit the training set or the replicas.
        """
        self._training = steps_of(
            model, plan, train, normalization, replicas, members, small, teacher
        )
        self._replicas = replicas
        self._plan = plan
        self._images = len(train.images)
        self._checkpoints = checkpoints
        self._fingerprint = fingerprint
        self._show_progress = show_progress
        self._steps = self._images // plan.batch_size
        self._before_step = before_step or (lambda step: None)
        self._pause: int | None = None if before_step is None else 0
        self._key = stage_key(plan.seed, plan.draws)
        self._call_steps = 1

    def run(
        self,
        evaluate: Callable[[], dict[str, float | None]],
        after_epoch: Callable[[dict[str, Any]], None],
    ) -> list[dict[str, Any]]:
        """Trains from the last checkpoint, or the beginning, to the end.

        Args:
            evaluate: gives the accuracies that an epoch's record holds beside its own.
            after_epoch: is shown each new record before the checkpoint that contains it.

        Returns:
            The history: a dict for each epoch with `epoch` (from 1), `loss` and
            `train_accuracy` (means over the epoch's steps), `learning_rate` (of its last
            step), `seconds` (training only) and what `evaluate` gave.

        Raises:
            InterruptedRunError: SIGINT or SIGTERM arrived; a checkpoint was written.
            TfpruneError: the loss is not finite, or the disk is full.
        """
        progress = self._resume()
        with Interruptible() as interruptible:
            while progress.epoch < self._plan.epochs:
                self._run_epoch(progress, interruptible)
                self._training.pull()
                record = self._record(progress) | evaluate()
                after_epoch(record)
                progress = Progress(epoch=progress.epoch + 1, history=[*progress.history, record])
                self._save(progress)
                self._stop_if_asked(interruptible, progress)
        return progress.history

    def _resume(self) -> Progress:
        shapes = [tuple(variable.shape) for variable in self._training.variables]
        found = self._checkpoints.load(self._fingerprint, shapes)
        arrays, progress = found or (None, Progress())
        self._training.begin(arrays)
        self._training.pull()
        return progress

    def _save(self, progress: Progress) -> None:
        self._checkpoints.save(self._training.read(), progress, self._fingerprint)

    def _stop_if_asked(self, interruptible: Interruptible, progress: Progress) -> None:
        received = self._received(interruptible)
        if received is not None:
            raise InterruptedRunError(received, f"{self._plan.stage}, {progress}")

    def _received(self, interruptible: Interruptible) -> int | None:
        """The signal that this process, or another worker, was sent."""
        return interruptible.received or self._replicas.signal

    def _run_epoch(self, progress: Progress, interruptible: Interruptible) -> None:
        """Trains the rest of an epoch, noting each call's steps in `progress`."""
        batch, epoch = self._plan.batch_size, progress.epoch
        order = epoch_order(self._key, epoch, self._images)
        order = order[: self._steps * batch].reshape(self._steps, batch)
        rates = self._plan.rate.steps(epoch, self._steps)
        last_save = time.monotonic()
        with tqdm(
            total=self._steps * batch,
            initial=progress.step * batch,
            desc=f"{self._plan.stage} {epoch + 1}/{self._plan.epochs}",
            unit="img",
            disable=not self._show_progress,
            leave=False,
            dynamic_ncols=True,
        ) as bar:
            while progress.step < self._steps:
                start = progress.step
                stop = min(start + self._call_steps, self._steps)
                pause = self._prepare(epoch * self._steps + start)
                stop = stop if pause is None else min(stop, pause - epoch * self._steps)
                began = time.monotonic()
                losses, correct = self._training.run(
                    order[start:stop], rates[start:stop], epoch * self._steps + start
                )
                progress.losses += losses.tolist()
                progress.correct += int(correct)
                progress.step = stop
                seconds = time.monotonic() - began
                progress.seconds += seconds
                self._check_finite(progress)
                # Aim at calls of even length; at most double, the first ones include tracing.
                self._call_steps = max(
                    1,
                    min(2 * self._call_steps, int(_CALL_SECONDS * (stop - start) / seconds) + 1),
                )
                bar.update((stop - start) * batch)
                bar.set_postfix(
                    loss=f"{np.mean(progress.losses):.4f}",
                    accuracy=f"{progress.correct / (stop * batch):.4f}",
                    epochs_left=self._time_left(progress),
                )
                stop_now = self._received(interruptible) is not None
                if stop_now or time.monotonic() - last_save > _CHECKPOINT_SECONDS:
                    self._save(progress)
                    last_save = time.monotonic()
                if stop_now:
                    self._stop_if_asked(interruptible, progress)

    def _prepare(self, step: int) -> int | None:
        """Calls `before_step` when it is due; the next step at which it is."""
        if self._pause is not None and step >= self._pause:
            self._training.pull()
            self._pause = self._before_step(step)
            self._training.push()
        return self._pause

    def _time_left(self, progress: Progress) -> str:
        """Time the epochs after this one will take, by the pace of this one."""
        epoch_seconds = progress.seconds * self._steps / progress.step
        left = epoch_seconds * (self._plan.epochs - progress.epoch - 1)
        return tqdm.format_interval(left)

    def _check_finite(self, progress: Progress) -> None:
        if not math.isfinite(sum(progress.losses)):
            step = next(i for i, x in enumerate(progress.losses, 1) if not math.isfinite(x))
            raise TfpruneError(
                f"{self._plan.stage}: the loss became {progress.losses[step - 1]} at epoch "
                f"{progress.epoch + 1}, step {step}; a lower learning rate or a warm-up may help"
            )

    def _record(self, progress: Progress) -> dict[str, Any]:
        rates = self._plan.rate.steps(progress.epoch, self._steps)
        return {
            "epoch": progress.epoch + 1,
            "loss": float(np.mean(progress.losses)),
            "train_accuracy": progress.correct / (self._steps * self._plan.batch_size),
            "learning_rate": float(rates[-1]),
            "seconds": progress.seconds,
        }
