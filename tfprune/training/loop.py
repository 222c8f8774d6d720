"""The training loop: many steps a call of one graph, resumable at any step.

The training set lives in memory as one uint8 tensor. A call of the graph receives the
image numbers of some hundred steps, and gathers, augments, normalises and trains in a
loop that never returns to Python in between; small networks are bound by exactly that.
Weights, shuffling, augmentation and dropout of a step are functions of (seed, stage,
epoch, step) and of the weights before it, so that a run that was killed and resumed is
equal to one that was not.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

from tfprune.backend import tf
from tfprune.data import Split
from tfprune.errors import TfpruneError, UsageError
from tfprune.training.checkpoint import CheckpointFolder, Progress
from tfprune.training.inputs import Augmentation, Normalization
from tfprune.training.interrupt import InterruptedRunError, Interruptible
from tfprune.training.learning_rate import PiecewiseConstant
from tfprune.training.objective import Objective
from tfprune.training.optimizer import make_optimizer, optimizer_variables
from tfprune.training.randomness import epoch_order, random_states, set_states, stage_key

#: Seconds between two looks at the outside world (progress bar, signals).
_CALL_SECONDS = 0.5
#: A checkpoint inside an epoch is written when the last one is this old.
_CHECKPOINT_SECONDS = 300


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a stage trains.

    Attributes:
        stage: its name, shown and given to its checkpoints.
        draws: with `seed` and the step the source of everything random; stages that share
            it see the same batches.
        epochs: passes over the training set; of each, the last images that do not fill
            a batch are left out (others each time, since the order is new).
        batch_size: images a step.
        rate: learning rate by epoch.
        optimizer: "adam" or "sgd".
        weight_decay: w -= rate * weight_decay * w for each kernel at each step.
        label_smoothing: see `Objective`.
        augmentation: what is done to the images of a batch.
        seed: the run's seed.
    """

    stage: str
    draws: str
    epochs: int
    batch_size: int
    rate: PiecewiseConstant
    optimizer: str
    weight_decay: float
    label_smoothing: float
    augmentation: Augmentation
    seed: int


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
        """
        if len(train.images) < plan.batch_size:
            raise UsageError(
                f"the batch size must be at most the {len(train.images)} training images; "
                f"received {plan.batch_size}"
            )
        self._model = model
        self._plan = plan
        self._train = train
        self._normalization = normalization
        self._checkpoints = checkpoints
        self._fingerprint = fingerprint
        self._show_progress = show_progress
        self._steps = len(train.images) // plan.batch_size
        self._key = stage_key(plan.seed, plan.draws)
        self._optimizer = make_optimizer(plan.optimizer, model)
        self._variables = list(model.weights) + optimizer_variables(self._optimizer)
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
        if progress.epoch == self._plan.epochs:
            return progress.history
        run_steps = self._compile()
        images, labels = tf.constant(self._train.images), tf.constant(self._train.labels)
        with Interruptible() as interruptible:
            while progress.epoch < self._plan.epochs:
                self._run_epoch(run_steps, images, labels, progress, interruptible)
                record = self._record(progress) | evaluate()
                after_epoch(record)
                progress = Progress(epoch=progress.epoch + 1, history=[*progress.history, record])
                self._save(progress)
                self._stop_if_asked(interruptible, progress)
        return progress.history

    def _resume(self) -> Progress:
        found = self._checkpoints.load(self._fingerprint)
        if found is None:
            return Progress()
        arrays, progress = found
        for variable, array in zip(self._variables, arrays, strict=True):
            variable.assign(array)
        return progress

    def _save(self, progress: Progress) -> None:
        arrays = [np.asarray(variable) for variable in self._variables]
        self._checkpoints.save(arrays, progress, self._fingerprint)

    def _stop_if_asked(self, interruptible: Interruptible, progress: Progress) -> None:
        if interruptible.received is not None:
            where = f"{self._plan.stage}, epoch {progress.epoch + 1}, step {progress.step}"
            raise InterruptedRunError(interruptible.received, where)

    def _run_epoch(
        self,
        run_steps: Callable,
        images: tf.Tensor,
        labels: tf.Tensor,
        progress: Progress,
        interruptible: Interruptible,
    ) -> None:
        """Trains the rest of an epoch, noting each call's steps in `progress`."""
        batch, epoch = self._plan.batch_size, progress.epoch
        order = epoch_order(self._key, epoch, len(self._train.images))
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
                began = time.monotonic()
                losses, correct = run_steps(
                    images,
                    labels,
                    tf.constant(order[start:stop]),
                    tf.constant(rates[start:stop]),
                    tf.constant(epoch * self._steps + start, tf.int32),
                )
                progress.losses += losses.numpy().tolist()
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
                stop_now = interruptible.received is not None
                if stop_now or time.monotonic() - last_save > _CHECKPOINT_SECONDS:
                    self._save(progress)
                    last_save = time.monotonic()
                if stop_now:
                    self._stop_if_asked(interruptible, progress)

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

    def _compile(self) -> Callable:
        """The graph that runs many steps."""
        model, plan, optimizer = self._model, self._plan, self._optimizer
        objective = Objective(model, plan.label_smoothing)
        states = random_states(model)
        trained = list(model.trainable_variables)
        kernels = [variable for variable in trained if len(variable.shape) > 1]

        def step(
            images: tf.Tensor, labels: tf.Tensor, rate: tf.Tensor, number: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            seed = tf.stack([tf.constant(self._key, tf.int32), number * 8])
            set_states(states, tf.constant(self._key, tf.int32), number)
            images = self._normalization(plan.augmentation(images, seed))
            with tf.GradientTape() as tape:
                outputs = model(images, training=True)
                loss = objective.loss(labels, outputs)
                total = tf.add_n([loss, *model.losses]) if model.losses else loss
            gradients = tape.gradient(total, trained)
            optimizer.learning_rate.assign(rate)
            if plan.weight_decay:
                for kernel in kernels:
                    kernel.assign_sub(rate * plan.weight_decay * kernel)
            optimizer.apply_gradients(zip(gradients, trained, strict=True))
            return loss, objective.correct(labels, outputs)

        @tf.function(
            input_signature=[
                tf.TensorSpec(self._train.images.shape, tf.uint8),
                tf.TensorSpec(self._train.labels.shape, tf.int32),
                tf.TensorSpec((None, plan.batch_size), tf.int32),
                tf.TensorSpec((None,), tf.float32),
                tf.TensorSpec((), tf.int32),
            ]
        )
        def run_steps(
            images: tf.Tensor,
            labels: tf.Tensor,
            order: tf.Tensor,
            rates: tf.Tensor,
            first: tf.Tensor,
        ) -> tuple[tf.Tensor, tf.Tensor]:
            count = tf.shape(order)[0]
            losses = tf.TensorArray(tf.float32, count)
            correct = tf.constant(0)
            for i in tf.range(count):
                chosen = order[i]
                loss, right = step(
                    tf.gather(images, chosen), tf.gather(labels, chosen), rates[i], first + i
                )
                losses = losses.write(i, loss)
                correct += right
            return losses.stack(), correct

        return run_steps
