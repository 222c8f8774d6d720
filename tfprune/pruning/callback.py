"""PruningCallback: prunes by a schedule while `fit` trains."""

from __future__ import annotations

from typing import Any

from tfprune.backend import keras, tf
from tfprune.errors import UsageError
from tfprune.pruning.choice import unit_counts
from tfprune.pruning.masks import removed_count
from tfprune.pruning.prunable import Prunable, select
from tfprune.pruning.pruner import prune
from tfprune.pruning.schedule import Schedule, update_at


class PruningCallback(keras.callbacks.Callback):
    """Removes weights step by step during `fit`, as a schedule says; removed stays removed.

    A step counts as the optimizer counts (`optimizer.iterations`), over several calls of `fit`
    and over saving and loading a compiled model: an update that the schedule wants at step t is
    made when t steps are done. With `steps_per_execution` it is made after the call that passes
    t. A sparsity at or below the one that is reached changes nothing. `logs` of each epoch hold
    `group_sparsity`, the fraction of the group's weights that are removed; of several callbacks,
    one for each part of the model with a target of its own, the last one's.

    Args:
        schedule: when and how much: `tfprune.PolynomialSchedule`, any `PruningSchedule` of
            TFMOT, or a function from step to (is an update due?, sparsity in [0, 1)).
        **options: those of `tfprune.prune` but `sparsity` and `in_place`: `layers`,
            `exclude`, `allocation`, `criterion`, ...

    Raises:
        UsageError: in `fit`: the model's layers are not wrapped (`model = prune(model, 0.0)`,
            then compile it), a schedule that gives no (due, sparsity), or what `prune` refuses.

    Example:
        model = tfprune.prune(model, 0.0)
        model.compile("adam", loss)
        ramp = tfprune.PolynomialSchedule(0.9, end_step=2000)
        model.fit(x, y, epochs=10, callbacks=[tfprune.PruningCallback(ramp)])
    """

    def __init__(self, schedule: Schedule, **options: Any) -> None:
        super().__init__()
        if not callable(schedule):
            raise UsageError(
                "schedule must be a PolynomialSchedule, a PruningSchedule of TFMOT, or a function "
                f"from step to (is an update due?, sparsity). Received: {schedule!r}"
            )
        for name in ("sparsity", "in_place", "layer_sparsity", "quality"):
            if name in options:
                raise UsageError(
                    "the schedule decides how much goes, of the layers of its callback: others "
                    f"with another target have a callback of their own. Received: {name}"
                )
        self.schedule = schedule
        self.options = options
        self._checked = -1
        self._before_epoch = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Finds the step that the optimizer stands at, and what is due there."""
        self._before_epoch = int(tf.convert_to_tensor(self.model.optimizer.iterations))
        self._checked = self._before_epoch - 1
        self._group()  # a model that is not wrapped is refused here, not at the first update
        self._update(self._before_epoch)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the step at which the epoch begins."""
        self._before_epoch = self._checked

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Makes the newest update that is due after the steps that just ran."""
        self._update(self._before_epoch + batch + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the group's sparsity into the logs, for all callbacks after this one."""
        if logs is not None:
            removed, size = self._counts("weight")
            logs["group_sparsity"] = removed / size

    def _update(self, done: int) -> None:
        """Makes the last of the updates due in the steps after those looked at before."""
        due = [update_at(self.schedule, step) for step in range(self._checked + 1, done + 1)]
        self._checked = done
        wanted = [sparsity for sparsity in due if sparsity is not None]
        if wanted:
            removed, size = self._counts(self.options.get("granularity", "weight"))
            if removed_count(size, wanted[-1]) > removed:
                prune(self.model, wanted[-1], in_place=True, **self.options)

    def _counts(self, granularity: Any) -> tuple[int, int]:
        """Removed units and all units of the group."""
        counts = unit_counts(self._group(), granularity).values()
        return sum(lost for lost, _ in counts), sum(size for _, size in counts)

    def _group(self) -> list[Prunable]:
        """The group, whose variables have masks."""
        layers, exclude = self.options.get("layers"), self.options.get("exclude", ())
        group = select(self.model, layers, exclude)
        if any(prunable.mask is None for prunable in group):
            prune(self.model, 0.0, in_place=True, **self.options)  # says what is missing
        return group
