"""Several workers train as one: the chief leads, the others follow step by step.

Only the chief knows the experiment: which stage is next or stands already, what is pruned,
when an epoch ends. It tells the others which network to train, its weights, masks and
optimizer state, and then, call by call, which images. They hold the same data, and nothing
else that matters: they read no run folder and write none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.backend import keras, tf
from tfprune.cluster import cluster_of
from tfprune.data import Split
from tfprune.export.small_twin import SmallTwin
from tfprune.machine import versions
from tfprune.training.distillation import Teacher
from tfprune.training.distribution import ONE_DEVICE, Replicas, StrategyReplicas, check_keras
from tfprune.training.inputs import Augmentation, Normalization
from tfprune.training.interrupt import Interruptible
from tfprune.training.learning_rate import PiecewiseConstant
from tfprune.training.plan import Plan
from tfprune.training.resizing import Resizing
from tfprune.training.steps import Steps, check_batch
from tfprune.training.workers import Workers

if TYPE_CHECKING:
    from tfprune.setting import Setting


@contextlib.contextmanager
def replicas_of(strategy: str) -> Iterator[Replicas]:
    """What computes, by the name of a strategy; has to come before TensorFlow computes.

    Args:
        strategy: "none", "mirrored" or "multi_worker" (with `TF_CONFIG` in the environment).

    Raises:
        UsageError: `TF_CONFIG` is wrong, or Keras 3 is at work.
        TfpruneError: the workers do not come together.
    """
    if strategy == "none":
        yield ONE_DEVICE
        return
    check_keras()
    if strategy == "mirrored":
        yield StrategyReplicas(tf.distribute.MirroredStrategy())
        return
    workers = Workers(cluster_of(os.environ.get("TF_CONFIG")))
    try:
        yield workers
    except BaseException as error:
        workers.leave(error)
        raise
    workers.leave(None)


def steps_of(
    model: Any,
    plan: Plan,
    train: Split,
    normalization: Normalization,
    replicas: Replicas,
    members: Mapping[str, np.ndarray] | None = None,
    small: SmallTwin | None = None,
    teacher: Teacher | None = None,
) -> Steps:
    """The training steps of a model on whatever computes; arguments as those of `Steps`."""
    if isinstance(replicas, Workers):
        assert teacher is None, "the workers have none"  # `check_distillation` refuses it
        return LeadingSteps(model, plan, train, normalization, replicas, members, small)
    return Steps(model, plan, train, normalization, replicas, members, small, teacher)


class LeadingSteps(Steps):
    """The chief's steps: each is announced, so that all workers do the same."""

    _replicas: Workers

    def __init__(
        self,
        model: Any,
        plan: Plan,
        train: Split,
        normalization: Normalization,
        replicas: Workers,
        members: Mapping[str, np.ndarray] | None = None,
        small: SmallTwin | None = None,
    ) -> None:
        """See `Steps`."""
        check_batch(plan.batch_size, len(train.images), replicas)
        members = members or {}
        network = (model if small is None else small.model).to_json()
        meta = {"network": network, "plan": dataclasses.asdict(plan)}
        replicas.tell("stage", meta | {"members": list(members)}, list(members.values()))
        with replicas.together():
            super().__init__(model, plan, train, normalization, replicas, members, small)

    def begin(self, arrays: Sequence[np.ndarray] | None) -> None:
        """See `Steps`."""
        self._spread(self.read() if arrays is None else arrays)

    def push(self) -> None:
        """See `Steps`."""
        self._spread(self._model.get_weights())

    def run(
        self, order: np.ndarray, rates: np.ndarray, first: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Steps`."""
        self._replicas.tell("run", {"first": first}, [order, rates])
        with self._replicas.together():
            return super().run(order, rates, first)

    def pull(self) -> None:
        """See `Steps`; also compares the masks of all workers."""
        self._replicas.tell("check", {})
        require_same_masks(self._replicas, self)
        super().pull()

    def _spread(self, arrays: Sequence[np.ndarray]) -> None:
        self._replicas.tell("weights", {}, arrays)
        self.assign(arrays)
        require_same_masks(self._replicas, self)


def join(setting: Setting) -> None:
    """Makes sure that all workers were started with the same flags, data and versions.

    Raises:
        WorkersError: one was not, or could not start.
    """
    if isinstance(setting.replicas, Workers):
        config = setting.config
        card = {
            f"--{field.name}": getattr(config, field.name)
            for field in dataclasses.fields(config)
            if field.metadata["shapes"] != "run"
        }
        card |= {name: versions()[name] for name in ("tfprune", "tensorflow", "tf-keras")}
        setting.replicas.join(card | {"flags and data": setting.dense_mark})


def follow(setting: Setting) -> None:
    """Does what the chief does until it ends. For all workers but the chief.

    Raises:
        WorkersError: the chief, or another worker, ended by an error.
    """
    join(setting)
    workers, train = setting.replicas, setting.dataset.train
    assert isinstance(workers, Workers)
    with Interruptible() as interruptible:
        while True:
            kind, meta, arrays = workers.hear(interruptible.received)
            if kind == "end":
                workers.follow_end(meta)
                return
            if kind == "stage":
                model = keras.models.model_from_json(meta["network"])
                plan = _plan_of(meta["plan"])
                with workers.together():
                    members = dict(zip(meta["members"], arrays, strict=True))
                    steps = Steps(model, plan, train, setting.normalization, workers, members)
            elif kind == "run":
                with workers.together():
                    order, rates = arrays
                    steps.run(order, rates, meta["first"])
            else:
                if kind == "weights":
                    steps.assign(arrays)
                require_same_masks(workers, steps)


def require_same_masks(workers: Workers, steps: Steps) -> None:
    """Compares the masks of all workers, bit by bit through a hash.

    Raises:
        WorkersError: those of one differ from the chief's.
    """
    digests = {
        hashlib.sha256(b"".join(np.packbits(mask).tobytes() for mask in masks)).hexdigest()
        for masks in steps.masks()
    }
    workers.require_same("the masks", ", ".join(sorted(digests)))


def _plan_of(fields: dict[str, Any]) -> Plan:
    rate = PiecewiseConstant(**fields["rate"])
    augmentation = Augmentation(**fields["augmentation"])
    resizing = Resizing(**fields["resizing"])
    return Plan(**fields | {"rate": rate, "augmentation": augmentation, "resizing": resizing})
