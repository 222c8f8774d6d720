"""Many training steps in one call of one graph, on one device or on several replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfprune.backend import tf
from tfprune.data import Split
from tfprune.errors import UsageError
from tfprune.export.small_twin import SmallTwin
from tfprune.training.centroids import Centroids
from tfprune.training.distillation import Teacher
from tfprune.training.distribution import Replicas
from tfprune.training.inputs import Normalization
from tfprune.training.objective import Objective
from tfprune.training.optimizer import make_optimizer, optimizer_variables
from tfprune.training.plan import Plan
from tfprune.training.precision import computing_in
from tfprune.training.randomness import random_states, set_states, stage_key
from tfprune.training.resizing import forward_at, resized


class Steps:
    """The training steps of one model by one plan.

    On one device the model itself is trained, or its small twin. A strategy of several replicas
    trains a twin whose variables the strategy has made. `pull` and `push` carry weights between
    the model and what is trained.

    Attributes:
        variables: what a checkpoint holds: the weights in training, then the optimizer's, then
            centroids.
    """

    def __init__(
        self,
        model: Any,
        plan: Plan,
        train: Split,
        normalization: Normalization,
        replicas: Replicas,
        members: Mapping[str, np.ndarray] | None = None,
        small: SmallTwin | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        """Makes the optimizer; a graph is traced by the first `run` that needs it.

        Args:
            model: a built Keras classifier.
            plan: how a step trains.
            train: the training images.
            normalization: pixels to model inputs.
            replicas: what computes.
            members: of the centroids of kernels that share weights, as `Centroids` takes them.
            small: the model's small twin, to be trained in its place; then there are no
                members, and the masks do not change.
            teacher: what the model learns from beside the labels; on one device.

        Raises:
            UsageError: the batch is larger than the training set, or cannot be shared out.
        """
        check_batch(plan.batch_size, len(train.images), replicas)
        self._model, self._small, self._teacher = model, small, teacher
        self._held = model if small is None else small.model  # what this process trains, or copies
        self._plan = plan
        self._train = train
        self._normalization = normalization
        self._replicas = replicas
        self._twin = replicas.twin(self._held)
        with replicas.scope():
            self._centroids = Centroids(self._twin, members or {})
            trained = self._centroids.trained(self._twin.trainable_variables)
            self._optimizer = make_optimizer(plan.optimizer, trained)
        self.variables = [*self._twin.weights, *optimizer_variables(self._optimizer)]
        self.variables += self._centroids.variables
        self._graphs: dict[int, Callable] = {}  # by the side of the images they train on
        self._images, self._labels = None, None

    def read(self) -> list[np.ndarray]:
        """The values of `variables`."""
        return [self._replicas.value(variable) for variable in self.variables]

    def begin(self, arrays: Sequence[np.ndarray] | None) -> None:
        """Sets `variables`, or with None leaves them as they were made; before the first `run`."""
        if arrays is not None:
            self.assign(arrays)

    def run(
        self, order: np.ndarray, rates: np.ndarray, first: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Trains some steps of one epoch.

        Args:
            order: the numbers of the images of each step: int32, shape (steps, batch).
            rates: the learning rate of each: float32, shape (steps,).
            first: the number of the first step, from the stage's beginning.

        Returns:
            The loss of each step, shape (steps,), and how many images were right, ().
        """
        if self._images is None:
            self._images = tf.constant(self._train.images)
            self._labels = tf.constant(self._train.labels)
        epoch = first // (len(self._train.images) // self._plan.batch_size)
        side = self._plan.resizing.side_at(epoch)
        if side not in self._graphs:
            self._graphs[side] = self._compile(side)
        with computing_in(self._plan.precision):
            losses, correct = self._graphs[side](
                self._images,
                self._labels,
                tf.constant(order),
                tf.constant(rates),
                tf.constant(first, tf.int32),
            )
        return losses.numpy(), correct.numpy()

    def pull(self) -> None:
        """Gives the model the weights in training."""
        if self._twin is not self._held:
            weights = [self._replicas.value(weight) for weight in self._twin.weights]
            self._held.set_weights(weights)
        if self._small is not None:
            self._small.give_back()

    def push(self) -> None:
        """Trains on from the model's weights and masks, which the caller has changed."""
        if self._twin is not self._model:
            self.assign(self._model.get_weights())

    def assign(self, arrays: Sequence[np.ndarray]) -> None:
        """Sets the first `len(arrays)` of `variables`."""
        with self._replicas.scope():
            for variable, array in zip(self.variables, arrays, strict=False):
                variable.assign(array)

    def masks(self) -> list[list[np.ndarray]]:
        """The masks, of each replica in this process."""
        masks = [weight for weight in self._twin.weights if weight.dtype == tf.bool]
        copies = [self._replicas.copies(mask) for mask in masks]
        return [list(each) for each in zip(*copies, strict=True)]

    def _compile(self, side: int) -> Callable:
        """The graph that runs many steps on images of a side; 0: of their own."""
        model, plan, optimizer, replicas = self._twin, self._plan, self._optimizer, self._replicas
        key = stage_key(plan.seed, plan.draws)
        objective = Objective(model, plan.label_smoothing)
        states, forward = random_states(model), forward_at(model, side, plan.precision)
        lesson = None
        if self._teacher is not None:
            lesson = self._teacher.lesson(model, side, plan.precision)
        trained, centroids = list(model.trainable_variables), self._centroids
        kernels = [variable for variable in trained if len(variable.shape) > 1]

        def step(
            images: tf.Tensor,
            labels: tf.Tensor,
            chosen: tf.Tensor,
            rate: tf.Tensor,
            number: tf.Tensor,
        ) -> tuple[tf.Tensor, tf.Tensor]:
            chosen, place = replicas.share(chosen)
            images, labels = tf.gather(images, chosen), tf.gather(labels, chosen)
            seed = tf.stack([tf.constant(key, tf.int32), number * 8])
            set_states(replicas.own(states), tf.constant(key, tf.int32), number)
            images = resized(plan.augmentation(images, seed, place), side)
            with tf.GradientTape() as tape:
                inputs = self._normalization(images)
                outputs = forward(inputs)
                loss = objective.loss(labels, outputs)
                loss = loss if lesson is None else lesson(loss, inputs, outputs)
                total = tf.add_n([loss, *model.losses]) if model.losses else loss
            gradients = tape.gradient(total, trained)
            right = objective.correct(labels, outputs)
            loss, right, gradients = replicas.combined(loss, right, gradients, model)
            optimizer.learning_rate.assign(rate)
            if plan.weight_decay:
                for kernel in replicas.own(kernels):
                    kernel.assign(kernel * (1 - rate * plan.weight_decay))
            gradients = centroids.grouped(gradients, trained)
            replicas.apply(optimizer, gradients, centroids.trained(trained))
            centroids.spread(replicas)
            return loss, right

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
                loss, right = replicas.run(step, images, labels, order[i], rates[i], first + i)
                losses = losses.write(i, loss)
                correct += right
            return losses.stack(), correct

        return run_steps


def check_batch(batch_size: int, images: int, replicas: Replicas) -> None:
    """Refuses a batch that the training set or the replicas cannot take.

    Raises:
        UsageError: it is larger than the training set, or cannot be shared out equally.
    """
    if images < batch_size:
        raise UsageError(
            f"the batch size must be at most the {images} training images; received {batch_size}"
        )
    replicas.check_batch(batch_size)
