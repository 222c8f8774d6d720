"""What computes a training step: one device, or the replicas of a TensorFlow strategy.

Under a strategy each replica takes an equal part of every batch, in the batch's order, and
does to an image what one device would do to it: the draws of augmentation belong to the
place in the batch. Gradients, losses and the moving statistics of batch normalization are
summed over the replicas and divided by their number, so that one step is the step of one
device, but for the rounding of sums. Two things are a replica's own: batch normalization
normalizes by the statistics of its part of the batch, and dropout draws by replica.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfprune.backend import IS_TF_KERAS, keras, tf
from tfprune.errors import UsageError


class Replicas:
    """One device: nothing is shared out, the graph is what it would be without this class.

    Attributes:
        count: number of replicas.
        leads: whether this process decides and writes; False in a worker that follows.
        signal: a signal that another process of the training received.
    """

    count = 1
    leads = True
    signal: int | None = None

    def check_batch(self, batch_size: int) -> None:
        """Refuses a batch that cannot be shared out equally.

        Raises:
            UsageError: `batch_size` is no multiple of the number of replicas.
        """
        if batch_size % self.count:
            raise UsageError(
                f"the batch size must be a multiple of the {self.count} replicas, each of which "
                f"takes an equal part; received {batch_size}"
            )

    def scope(self) -> contextlib.AbstractContextManager:
        """Within it variables are made on every replica."""
        return contextlib.nullcontext()

    def twin(self, model: Any) -> Any:
        """The model whose variables the replicas train: here the model itself."""
        return model

    def value(self, variable: Any) -> np.ndarray:
        """The value of a variable, which all replicas agree on."""
        return np.asarray(variable)

    def copies(self, variable: Any) -> list[np.ndarray]:
        """The value of a variable on each replica of this process."""
        return [np.asarray(variable)]

    # -- within the graph of a step --------------------------------------------------------

    def run(self, step: Callable, *arguments: tf.Tensor) -> Any:
        """Calls `step` on each replica and gives what the first one returned."""
        return step(*arguments)

    def share(self, batch: tf.Tensor) -> tuple[tf.Tensor, tuple[int, int] | None]:
        """A replica's part of a batch, and its place: (first, size of the whole batch)."""
        return batch, None

    def own(self, variables: Sequence[Any]) -> Sequence[Any]:
        """A replica's own copies of variables."""
        return variables

    def combined(
        self, loss: tf.Tensor, right: tf.Tensor, gradients: list[tf.Tensor], model: Any
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Loss, right answers and gradients of the whole batch from those of a part."""
        return loss, right, gradients

    def apply(self, optimizer: Any, gradients: list[tf.Tensor], variables: list[Any]) -> None:
        """Updates variables by gradients of the whole batch."""
        optimizer.apply_gradients(zip(gradients, variables, strict=True))


#: Training without a strategy.
ONE_DEVICE = Replicas()


class StrategyReplicas(Replicas):
    """The replicas of a `tf.distribute` strategy, in this process or in several."""

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        """Wraps a strategy that copies every variable to every replica.

        Args:
            strategy: a `MirroredStrategy` or `MultiWorkerMirroredStrategy`.

        Raises:
            UsageError: Keras 3 is at work.
        """
        check_keras()
        self.strategy = strategy
        self.count = strategy.num_replicas_in_sync

    def scope(self) -> contextlib.AbstractContextManager:
        """The strategy's scope."""
        return self.strategy.scope()

    def twin(self, model: Any) -> Any:
        """A model of the same layers and weights, made by the strategy.

        Masks act through constraints, which reach the copies of a variable only if its layer
        had them when it was built: that is why the twin is built anew.
        """
        with self.scope():
            twin = keras.models.model_from_json(model.to_json())
            twin.set_weights(model.get_weights())
        for new, old in zip(twin._flatten_layers(), model._flatten_layers(), strict=True):
            new.trainable = old.trainable
        return twin

    def value(self, variable: Any) -> np.ndarray:
        """The value on this process's first replica."""
        return self.strategy.experimental_local_results(variable)[0].numpy()

    def copies(self, variable: Any) -> list[np.ndarray]:
        """See `Replicas`."""
        return [copy.numpy() for copy in self.strategy.experimental_local_results(variable)]

    def run(self, step: Callable, *arguments: tf.Tensor) -> Any:
        """See `Replicas`; all replicas return the same."""
        results = self.strategy.run(step, arguments)
        return tuple(self.strategy.experimental_local_results(x)[0] for x in results)

    def share(self, batch: tf.Tensor) -> tuple[tf.Tensor, tuple[int, int] | None]:
        """See `Replicas`: replica r of R takes places r B / R to (r + 1) B / R."""
        whole = int(batch.shape[0])
        part = whole // self.count
        first = _replica_number() * part
        return batch[first : first + part], (first, whole)

    def own(self, variables: Sequence[Any]) -> Sequence[Any]:
        """See `Replicas`."""
        replica = _replica_number()
        copies = [self.strategy.experimental_local_results(v) for v in variables]
        return [each[replica % len(each)] for each in copies]

    def combined(
        self, loss: tf.Tensor, right: tf.Tensor, gradients: list[tf.Tensor], model: Any
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """See `Replicas`; replicas also take over the mean of their moving statistics."""
        statistics = self.own(
            [
                variable
                for variable in model.non_trainable_variables
                if variable.synchronization == tf.VariableSynchronization.ON_READ
            ]
        )
        right, loss, *sums = _summed(
            [tf.cast(right, tf.float32), loss, *gradients, *(tf.identity(s) for s in statistics)]
        )
        means = [each / self.count for each in sums]
        for variable, mean in zip(statistics, means[len(gradients) :], strict=True):
            variable.assign(mean)
        return loss / self.count, tf.cast(right, tf.int32), means[: len(gradients)]

    def apply(self, optimizer: Any, gradients: list[tf.Tensor], variables: list[Any]) -> None:
        """See `Replicas`; the gradients have been summed over the replicas before."""
        optimizer.apply_gradients(
            zip(gradients, variables, strict=True), experimental_aggregate_gradients=False
        )


def _replica_number() -> int:
    """The number of the replica whose graph is being made, counted over all workers."""
    return int(tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group))


def _summed(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Sums over the replicas, one message a type: what is small travels with what is large."""
    sums: dict[int, tf.Tensor] = {}
    for dtype in {tensor.dtype: None for tensor in tensors}:
        numbers = [i for i, tensor in enumerate(tensors) if tensor.dtype == dtype]
        replica = tf.distribute.get_replica_context()
        group = replica.all_reduce(tf.distribute.ReduceOp.SUM, [tensors[i] for i in numbers])
        sums |= zip(numbers, group, strict=True)
    return [sums[i] for i in range(len(tensors))]


def check_keras() -> None:
    """Refuses the Keras that strategies do not work with.

    Raises:
        UsageError: Keras 3 is at work.
    """
    if not IS_TF_KERAS:
        raise UsageError(
            "--strategy needs tf_keras: Keras 3 does not train with TensorFlow's "
            "MultiWorkerMirroredStrategy, and its optimizers do not take gradients that are "
            "summed already. Received: Keras 3 (a model that it saved, or TF_USE_LEGACY_KERAS=0)"
        )
