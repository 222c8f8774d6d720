"""What the stages of one run share: data, model factory, training plans, fingerprints."""

from __future__ import annotations

import dataclasses
import functools
import logging
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tfprune import data
from tfprune.backend import keras, tf
from tfprune.config import Config
from tfprune.errors import UsageError
from tfprune.export.qat import require_tf_keras
from tfprune.machine import has_bfloat16
from tfprune.memory import keep_freed_memory
from tfprune.models import build
from tfprune.pruning.pruner import load_model
from tfprune.pruning_flags import check_pruning
from tfprune.run_dir import file_hash, fingerprint
from tfprune.training.distribution import ONE_DEVICE, Replicas
from tfprune.training.evaluate import evaluator
from tfprune.training.inputs import Augmentation, Normalization, pixel_statistics
from tfprune.training.learning_rate import PiecewiseConstant
from tfprune.training.objective import check_fit
from tfprune.training.plan import Plan
from tfprune.training.randomness import use_resettable_dropout
from tfprune.training.resizing import Resizing

_CALIBRATION_IMAGES = 200
_LOG = logging.getLogger("tfprune")


def configure_tensorflow(config: Config) -> None:
    """Memory, threads, determinism, seeds; has to come before TensorFlow computes anything."""
    keep_freed_memory()
    tf.get_logger().setLevel("ERROR")  # it warns where several models are each compiled once
    if config.threads:
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
        tf.config.threading.set_inter_op_parallelism_threads(config.threads)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    use_resettable_dropout()


class Setting:
    """Data, models and plans of one `Config`."""

    def __init__(self, config: Config, replicas: Replicas = ONE_DEVICE) -> None:
        """Loads the data set and checks that the model fits it.

        Args:
            config: the flags.
            replicas: what trains.

        Raises:
            TfpruneError: no data, no model, or they do not fit.
        """
        self.config = config
        self.replicas = replicas
        for batch_size in (config.batch_size, config.retrain_batch_size or config.batch_size):
            replicas.check_batch(batch_size)
        self.dataset = data.load(
            config.dataset,
            data_dir=config.data_dir or None,
            cache_dir=None if config.dry_run else f"{config.runs_dir}/cache",
            validation_fraction=config.validation_fraction,
            image_size=config.image_size or None,
        )
        train = self.dataset.train.images
        self.normalization = Normalization.of(config.normalization, train)
        fill = pixel_statistics(train)[0] if config.augment_cutout else [0]
        self.augmentation = Augmentation(
            config.augment_shift,
            config.augment_flip,
            config.augment_cutout,
            tuple(round(float(value)) for value in fill),
        )
        self._check()

    def _check(self) -> None:
        """Refuses what would otherwise come out only after hours of training."""
        config, images = self.config, len(self.dataset.train.images)
        for size in (config.batch_size, config.retrain_batch_size):
            if size > images:
                raise UsageError(
                    f"the batch size must be at most the {images} training images; received {size}"
                )
        height, width = self.dataset.image_shape[:2]
        if config.augment_shift >= min(height, width):  # an edge is reflected once
            raise UsageError(
                f"--augment_shift must be less than the sides of the images, {height} x {width} "
                f"pixels; received {config.augment_shift}"
            )
        model = self.new_model()
        if config.user_model is not None:  # a network of the registry is built to fit
            check_fit(model, self.dataset.image_shape, self.dataset.classes)
        for plan in (self.dense_plan(), self.retrain_plan()):
            plan.resizing.check(model)
        if "qat" in config.quantize:
            require_tf_keras()
        if config.sparsity or config.allocation == "sensitivity":
            check_pruning(self, model)

    def new_model(self, dropout: float = -1.0) -> Any:
        """The network with fresh weights of the run's seed, or the user's own as it was saved.

        Args:
            dropout: rate of its fc layers; negative: the network's own.
        """
        config = self.config
        if config.user_model is not None:
            return load_model(config.user_model, compile=False)
        keras.utils.set_random_seed(config.seed)
        return build(
            config.model, self.dataset.image_shape, self.dataset.classes, **self.options(dropout)
        )

    def options(self, dropout: float = -1.0) -> dict[str, Any]:
        """What `build` is told beside the shapes; None is the network's own."""
        return {
            "dropout": dropout if dropout >= 0 else None,
            "conv1_stride": self.config.conv1_stride or None,
        }

    @functools.cached_property
    def dense_flags(self) -> dict[str, Any]:
        """The flags that shape the dense model."""
        if self.config.user_model is not None:
            return self.config.shaping("data")
        return self.config.shaping("data", "dense")

    @functools.cached_property
    def retrain_flags(self) -> dict[str, Any]:
        """The flags of retraining, those left open filled in from dense training's."""
        config = self.config
        flags = config.shaping("retrain")
        flags["retrain_batch_size"] = config.retrain_batch_size or config.batch_size
        flags["retrain_learning_rate"] = config.retrain_learning_rate or config.learning_rate
        flags["retrain_dropout"] = (
            config.dropout if config.retrain_dropout < 0 else config.retrain_dropout
        )
        if config.schedule == "iterative":
            flags["rounds"] = config.rounds
            flags["round_epochs"] = config.round_epochs or config.retrain_epochs
        return flags

    @functools.cached_property
    def student_flags(self) -> dict[str, Any]:
        """The flags of retraining that shape the pruned network, which may have a teacher.

        The control learns from the labels alone: `retrain_flags` are its.
        """
        return self.retrain_flags | self.teacher_flags

    @functools.cached_property
    def teacher_flags(self) -> dict[str, Any]:
        """The flags that shape what a teacher tells; none without one."""
        if not self.config.distill:
            return {}
        return self.config.shaping("distill") | {"teacher": self.config.teacher}

    @functools.cached_property
    def dense_mark(self) -> str:
        """Fingerprint of the dense model: flags, data, and the user's file."""
        checksum = 0
        for split in (self.dataset.train, self.dataset.test):
            checksum = zlib.crc32(split.images.data, zlib.crc32(split.labels.data, checksum))
        user_model = self.config.user_model
        return fingerprint(
            self.dense_flags, f"{checksum:08x}", file_hash(user_model) if user_model else ""
        )

    def dense_plan(self) -> Plan:
        """How the baseline is trained."""
        config = self.config
        rate = PiecewiseConstant(
            config.learning_rate,
            config.lr_decay_rate,
            config.lr_decay_epochs,
            config.lr_boundaries,
            config.lr_warmup_epochs,
        )
        sides = config.sides("resize")
        return self._plan("dense", "dense", config.epochs, config.batch_size, rate, sides)

    def retrain_plan(self, number: int = 1, *, last: bool = True) -> Plan:
        """How a pruned model, and its control, are retrained in a round.

        The randomness is the same for both, so that they see the same batches, and another
        in each round.

        Args:
            number: of the round, from 1.
            last: whether it is the last one.
        """
        config, flags = self.config, self.retrain_flags
        if config.rewind == "none":
            rate = PiecewiseConstant(
                flags["retrain_learning_rate"],
                config.retrain_lr_decay_rate,
                config.retrain_lr_decay_epochs,
                config.retrain_lr_boundaries,
                config.retrain_lr_warmup_epochs,
            )
        else:
            rate = dataclasses.replace(self.dense_plan().rate, begin=config.rewind_epoch)
        epochs = config.retrain_epochs if last else flags["round_epochs"]
        draws = "retrain" if number == 1 else f"retrain-round{number}"
        sides = config.sides("retrain_resize")
        return self._plan("retrain", draws, epochs, flags["retrain_batch_size"], rate, sides)

    @property
    def retrain_steps(self) -> int:
        """Steps of an epoch of retraining."""
        return len(self.dataset.train.images) // self.retrain_flags["retrain_batch_size"]

    @functools.cached_property
    def share_flags(self) -> dict[str, Any]:
        """The flags that shape how weights are shared, and their centroids trained."""
        config = self.config
        flags = config.shaping("share") | self.teacher_flags
        flags["retrain_batch_size"] = self.retrain_flags["retrain_batch_size"]
        flags["retrain_lr_decay_rate"] = config.retrain_lr_decay_rate
        if config.share_bytes:  # the bytes are those of this file
            flags |= config.shaping("code")
        return flags

    def share_plan(self) -> Plan:
        """How centroids are trained: as in retraining, but at their own rate, and not decayed."""
        config, flags = self.config, self.share_flags
        rate = PiecewiseConstant(
            config.share_learning_rate,
            config.retrain_lr_decay_rate,
            0,
            config.share_lr_boundaries,
            0.0,
        )
        batch_size = flags["retrain_batch_size"]
        plan = self._plan("share", "share", config.share_epochs, batch_size, rate)
        return dataclasses.replace(plan, weight_decay=0.0)

    @functools.cached_property
    def qat_flags(self) -> dict[str, Any]:
        """The flags that shape quantization-aware training."""
        batch_size = self.retrain_flags["retrain_batch_size"]
        return self.config.shaping("qat") | {"retrain_batch_size": batch_size}

    def qat_plan(self) -> Plan:
        """How a pruned model is trained quantization-aware: as in retraining, at one low rate.

        In float32: it is there to see the roundings of int8, not those of another format.
        """
        config = self.config
        rate = PiecewiseConstant(config.qat_learning_rate, 1.0, 0, (), 0.0)
        batch_size = self.qat_flags["retrain_batch_size"]
        plan = self._plan("qat", "qat", config.qat_epochs, batch_size, rate)
        return dataclasses.replace(plan, weight_decay=0.0, precision="float32")

    def calibration(self) -> np.ndarray:
        """Some of the training images, drawn by the seed, as model inputs: for int8 ranges."""
        split = self.dataset.train
        order = np.random.default_rng(self.config.seed).permutation(len(split))
        drawn = np.sort(order[:_CALIBRATION_IMAGES])
        return self.normalization(split.images[drawn]).numpy()

    def _plan(
        self,
        stage: str,
        draws: str,
        epochs: int,
        batch_size: int,
        rate: PiecewiseConstant,
        sides: tuple[tuple[int, int], ...] = (),
    ) -> Plan:
        config = self.config
        return Plan(
            stage=stage,
            draws=draws,
            epochs=epochs,
            batch_size=batch_size,
            rate=rate,
            optimizer=config.optimizer,
            weight_decay=config.weight_decay,
            label_smoothing=config.label_smoothing,
            augmentation=self.augmentation,
            seed=config.seed,
            resizing=Resizing(sides),
            precision=self.precision,
        )

    @functools.cached_property
    def precision(self) -> str:
        """What training multiplies in: what was asked for, if the processor has it."""
        asked = self.config.precision
        if asked == "bfloat16" and not has_bfloat16():
            _LOG.warning("no bfloat16 on this processor, as far as it tells: trains in float32")
            return "float32"
        return asked

    @property
    def dataset_label(self) -> str:
        """The data set's name as a part of a file name (`a/b:1.0.0` is `a+b+1.0.0`)."""
        return self.config.dataset.replace("/", "+").replace(":", "+")

    @property
    def judged_by(self) -> str:
        """Key of the accuracies of this run: `validation_accuracy` when tuning."""
        return "validation_accuracy" if self.dataset.validation else "test_accuracy"

    @property
    def judging_split(self) -> data.Split:
        """The images that judge: the test set, or when tuning those held out for it."""
        return self.dataset.validation or self.dataset.test

    def evaluator(self, model: Any) -> Callable[[], dict[str, float | None]]:
        """A function that gives the accuracies of a model as it then stands.

        When part of the training set is held out, that part judges and the test set is not
        looked at: its accuracy is None.
        """
        evaluate = evaluator(model, self.normalization, self.judging_split)
        empty = {"test_accuracy": None}
        return lambda: empty | {self.judged_by: evaluate()}
