"""How one stage of training is done."""

from __future__ import annotations

import dataclasses

from tfprune.training.inputs import Augmentation
from tfprune.training.learning_rate import PiecewiseConstant
from tfprune.training.resizing import Resizing


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
        resizing: which epochs see smaller images.
        precision: "float32" or "bfloat16", as in `computing_in`.
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
    resizing: Resizing = dataclasses.field(default_factory=Resizing)
    precision: str = "float32"
