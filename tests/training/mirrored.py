"""What two replicas of one machine do, as JSON. Run in a process of its own by
`test_distribution`: a machine is split into two devices before TensorFlow computes anything.
"""

import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf

from tfprune.backend import keras
from tfprune.data import Split
from tfprune.errors import UsageError
from tfprune.pruning.pruner import get_masks, layer_sparsities, prune
from tfprune.training.checkpoint import CheckpointFolder
from tfprune.training.distribution import ONE_DEVICE, StrategyReplicas
from tfprune.training.inputs import Augmentation, Normalization
from tfprune.training.learning_rate import PiecewiseConstant
from tfprune.training.loop import Trainer
from tfprune.training.plan import Plan
from tfprune.training.randomness import epoch_order, stage_key, use_resettable_dropout

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 70).astype(np.int32)
IMAGES = (RNG.integers(0, 40, (70, 6, 6, 1)) + 70 * LABELS[:, None, None, None]).astype(np.uint8)
UNIT = Normalization.of("unit", IMAGES)
PLAN = Plan(
    stage="dense",
    draws="dense",
    epochs=3,
    batch_size=16,
    rate=PiecewiseConstant(0.02, 0.5, decay_epochs=1, warmup_epochs=0.5),
    optimizer="adam",
    weight_decay=0.01,
    label_smoothing=0.1,
    augmentation=Augmentation(shift=1, flip=True, cutout=2),
    seed=5,
)


def network(*first):
    keras.utils.set_random_seed(1)
    layers = keras.layers
    l2 = keras.regularizers.l2(0.01)
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            *first,
            layers.Conv2D(4, 3, activation="relu", name="conv", kernel_regularizer=l2),
            layers.Flatten(),
            layers.Dense(20, activation="relu", name="hidden"),
            layers.Dense(3, name="out"),
        ]
    )


def train(replicas, model, folder=None, stop_after=None, before_step=None, **changes):
    """(records of its epochs, the trainer) of a training that may be broken off after one."""
    checkpoints = CheckpointFolder(Path(folder or tempfile.mkdtemp()), "dense")
    plan = dataclasses.replace(PLAN, **changes)
    train = Split(IMAGES, LABELS)
    trainer = Trainer(
        *(model, plan, train, UNIT, checkpoints, "mark"),
        show_progress=False,
        replicas=replicas,
        before_step=before_step and before_step(model),
    )
    records = []

    def note(record):
        records.append(record)
        if record["epoch"] == stop_after:
            raise KeyboardInterrupt

    try:
        trainer.run(lambda: {"test_accuracy": 0.0}, note)
    except KeyboardInterrupt:
        assert stop_after
    return records, trainer


def difference(left, right):
    pairs = zip(left.get_weights(), right.get_weights(), strict=True)
    return max(float(np.abs(a.astype(float) - b.astype(float)).max()) for a, b in pairs)


def halve_at_step_5(model):
    def before_step(step):
        if step == 5:
            prune(model, 0.5, in_place=True)
        return 5 if step < 5 else None

    return before_step


def main():
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    use_resettable_dropout()
    two = StrategyReplicas(tf.distribute.MirroredStrategy())
    result = {"replicas": two.count}

    for optimizer in ("adam", "sgd"):
        models = [prune(network(), 0.6) for _ in range(2)]
        one, _ = train(ONE_DEVICE, models[0], optimizer=optimizer)
        both, trainer = train(two, models[1], optimizer=optimizer)
        copies = trainer._training.masks()
        result[optimizer] = {
            "losses": [[record["loss"] for record in records] for records in (one, both)],
            "weights": difference(*models),
            "sparsities": [layer_sparsities(model) for model in models],
            "masks_equal": all(map(np.array_equal, *copies)) and len(copies) == 2,
            "replicas_equal": all(
                np.array_equal(*two.copies(variable)) for variable in trainer._training.variables
            ),
        }

    models = [prune(network(), 0.0) for _ in range(2)]
    train(ONE_DEVICE, models[0], before_step=halve_at_step_5)
    _, trainer = train(two, models[1], before_step=halve_at_step_5)
    masks = [get_masks(model) for model in models]
    result["changing"] = {
        "same": all(np.array_equal(masks[0][key], masks[1][key]) for key in masks[0]),
        "copies_same": all(map(np.array_equal, *trainer._training.masks())),
        "sparsities": layer_sparsities(models[1]),
    }

    momentum = 0.75
    model = network(keras.layers.BatchNormalization(momentum=momentum))
    plain = Augmentation()
    train(two, model, epochs=1, batch_size=70, augmentation=plain)
    order = epoch_order(stage_key(PLAN.seed, PLAN.draws), 0, 70)
    parts = [IMAGES[part] / 255 for part in (order[:35], order[35:])]
    result["moving"] = {
        "mean": float(model.layers[0].moving_mean[0]),
        "variance": float(model.layers[0].moving_variance[0]),
        "expected_mean": 0.25 * np.mean([part.mean() for part in parts]),
        "expected_variance": 0.75 + 0.25 * np.mean([part.var(ddof=1) for part in parts]),
    }

    def noisy():
        layers = keras.layers
        return prune(network(layers.BatchNormalization(), layers.Dropout(0.3)), 0.5)

    whole, parts = noisy(), noisy()
    train(two, whole)
    folder = tempfile.mkdtemp()
    train(two, parts, folder, stop_after=2)
    parts = noisy()
    records, _ = train(two, parts, folder)
    # The record of the second epoch was shown before its checkpoint was written.
    result["resumed"] = [difference(whole, parts), [record["epoch"] for record in records]]

    try:
        train(two, network(), batch_size=15)
    except UsageError as error:
        result["refused"] = str(error)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
