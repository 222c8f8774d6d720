"""Contenders that train: ours, and the bare compiled step, also as TFMOT has wrapped it.

A round trains `steps` batches of random images.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarking.rounds import Turn

_EVER = 1_000_000


def _split(shape: tuple[int, int, int], count: int) -> Any:
    from tfprune.data import Split

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape), np.uint8)
    return Split(images, rng.integers(0, 10, count, np.int32))


def network(name: str, shape: tuple[int, int, int]) -> Any:
    """A network of the registry with the weights of seed 0."""
    from tfprune.backend import keras
    from tfprune.models import build
    from tfprune.training.randomness import use_resettable_dropout

    use_resettable_dropout()
    keras.utils.set_random_seed(0)
    return build(name, shape, 10)


def trainer(
    turn: Turn,
    name: str,
    shape: tuple[int, int, int],
    batch: int,
    steps: int,
    *,
    sparsity: float = 0.0,
    granularity: str = "weight",
    small: bool = False,
    augmentation: dict[str, Any] | None = None,
    callbacks: bool = False,
    precision: str = "float32",
    ways: Sequence[str] = ("winograd", "taps"),
) -> None:
    """Our training, an epoch a round.

    Notes the seconds of its steps alone, and of a step the operations (forward, and two
    products backward, but for the first layer, whose inputs need no gradient); the weights.

    Args:
        turn: see `rounds`.
        name: network.
        shape: of its images.
        batch: images a step.
        steps: steps an epoch.
        sparsity: of all layers but the last, or of each by filters; 0.0 trains without masks.
        granularity: "weight" or "filter".
        small: whether the small twin is trained, as a run does, or the masked network.
        augmentation: arguments of `Augmentation`.
        callbacks: whether TensorBoard and checkpoints are written, as in a run.
        precision: what a step multiplies in.
        ways: of computing convolutions, beside TensorFlow's own; a run has both.
    """
    from tfprune.export.small_twin import small_twin
    from tfprune.pruning.macs import macs
    from tfprune.pruning.pruner import prune
    from tfprune.training import convolutions
    from tfprune.training.checkpoint import CheckpointFolder
    from tfprune.training.inputs import Augmentation, Normalization
    from tfprune.training.learning_rate import PiecewiseConstant
    from tfprune.training.loop import Trainer
    from tfprune.training.plan import Plan
    from tfprune.training.tensorboard import TensorBoard

    if "taps" not in ways:
        convolutions.TAPS_PIXELS = 0
    if "winograd" not in ways:
        convolutions.WINOGRAD_PIXELS = (1, 0)
    began = [0.0, 0.0]
    steps_took: dict[str, float] = {}

    class Checkpoints(CheckpointFolder):
        """An epoch's steps begin where the checkpoint before them ends."""

        def save(self, *arguments: Any) -> None:
            if callbacks:
                super().save(*arguments)
            began[:] = time.perf_counter(), time.process_time()

    def evaluate() -> dict[str, None]:
        steps_took["steps_seconds"] = time.perf_counter() - began[0]
        steps_took["steps_cpu_seconds"] = time.process_time() - began[1]
        return {"test_accuracy": None}

    model = trained = network(name, shape)
    twin = None
    if sparsity:
        allocation = "uniform" if granularity == "filter" else "global"
        model = prune(model, sparsity, granularity=granularity, allocation=allocation)
    if small:
        twin = small_twin(model)
        assert twin is not None, "whole units go"
        trained = twin.model
    products = [dense for dense, _ in macs(trained).values()]
    counts = {
        "operations": 2 * batch * (3 * sum(products) - products[0]),
        "weights": trained.count_params(),
    }
    split = _split(shape, batch * steps)
    plan = Plan(
        stage="benchmark",
        draws="benchmark",
        epochs=_EVER,
        batch_size=batch,
        rate=PiecewiseConstant(1e-4),
        optimizer="adam",
        weight_decay=0.0,
        label_smoothing=0.0,
        augmentation=Augmentation(**augmentation or {}),
        seed=0,
        precision=precision,
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Checkpoints(Path(scratch), "benchmark")
        board = TensorBoard(Path(scratch) / "board", model, {}) if callbacks else None
        normalization = Normalization.of("standardize", split.images)
        train = Trainer(model, plan, split, normalization, folder, "mark", small=twin)

        def after_epoch(record: dict[str, Any]) -> None:
            if board is not None:
                board.epoch(record, len(split))
            turn(**steps_took, **counts)

        turn()
        train.run(evaluate, after_epoch)


def bare(
    turn: Turn,
    name: str,
    shape: tuple[int, int, int],
    batch: int,
    steps: int,
    *,
    optimizer: str = "adam",
    tfmot: bool = False,
) -> None:
    """The bare compiled step, on one batch held in memory.

    Args:
        turn: see `rounds`.
        name: network.
        shape: of its images.
        batch: images a step.
        steps: steps a round.
        optimizer: "adam" (fused), "keras_adam" (Keras's own), "sgd" (plain).
        tfmot: whether TFMOT has wrapped every layer it can but the last (its masks are
            not updated in these steps).
    """
    from tfprune.backend import keras, tf

    model = network(name, shape)
    if tfmot:
        from benchmarking.peers import wrapped

        model = wrapped(model)
    legacy = keras.optimizers.legacy
    chosen = {
        "adam": lambda: legacy.Adam(1e-4),
        "keras_adam": lambda: keras.optimizers.Adam(1e-4),
        "sgd": lambda: legacy.SGD(1e-4),
    }[optimizer]()
    split = _split(shape, batch)
    images = tf.constant(split.images / np.float32(255))
    labels = tf.constant(split.labels)
    variables = model.trainable_variables

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, variables)
        chosen.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    step()
    while True:
        turn()
        for _ in range(steps):
            step().numpy()
