"""Every flag of `python -m tfprune.main`, once: name, type, default, help, range.

`Config` is the single source: its fields define the flags (see `flags`), and what a
flag says in `--help` is what stands here. Only the frozen `Config` travels further.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from tfprune.combinations import check_rewind, check_schedule
from tfprune.errors import UsageError
from tfprune.models import NETWORK_NAMES, NETWORKS
from tfprune.pruning.allocation import ALLOCATIONS
from tfprune.pruning.criteria import CRITERIA
from tfprune.pruning.curves import LADDER, check_ladder

OPTIMIZERS = ("adam", "sgd")
NORMALIZATIONS = ("unit", "standardize", "none")
SCHEDULES = ("one_shot", "iterative", "gradual")
REWINDS = ("none", "rate", "weights")
STRATEGIES = ("none", "mirrored", "multi_worker")


def _flag(
    default: Any,
    text: str,
    shapes: str,
    *,
    choices: tuple[str, ...] | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    below: float = math.inf,
) -> Any:
    """A field of `Config`: default, help text, the stage it shapes, and its range.

    Numbers lie in [low, high] and under `below`.
    """
    metadata = {
        "help": text,
        "shapes": shapes,
        "choices": choices,
        "low": low,
        "high": high,
        "below": below,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment, as its flags say it."""

    # -- the run ---------------------------------------------------------------------------
    name: str = _flag("", "Name of the run; a part of the run folder's name.", "run")
    run_dir: str = _flag("", "Run folder; empty: <runs_dir>/<name>-seed<seed>.", "run")
    runs_dir: str = _flag("runs", "Folder of run folders, shared baselines, data cache.", "run")
    seed: int = _flag(0, "Seed of weights, shuffling, augmentation, dropout.", "data", low=0)
    deterministic: bool = _flag(
        False, "Equal to the bit when rerun with the same number of threads; slower.", "data"
    )
    threads: int = _flag(0, "Threads TensorFlow computes with; 0: one a core.", "run", low=0)
    strategy: str = _flag(
        "none",
        "What a batch is shared out to: none (one device), mirrored (all devices of this machine), "
        "multi_worker (the processes that TF_CONFIG names, each started with the same flags).",
        "data",
        choices=STRATEGIES,
    )
    dry_run: bool = _flag(False, "Print what would be pruned, train nothing, write nothing.", "run")
    progress: bool = _flag(True, "Show a progress bar for each epoch.", "run")
    tensorboard: bool = _flag(True, "Write TensorBoard summaries each epoch.", "run")

    # -- data ------------------------------------------------------------------------------
    dataset: str = _flag(
        "digits", "digits (bundled), mnist, cifar10, or any TFDS image classification set.", "data"
    )
    data_dir: str = _flag(
        "", "Folder of prepared TFDS data sets; empty: $TFDS_DATA_DIR or TFDS's own.", "run"
    )
    image_size: int = _flag(0, "Resize images to this many pixels a side; 0: as they are.", "data")
    validation_fraction: float = _flag(
        0.0,
        "Fraction of the training set held out; above 0 the test set is not looked at.",
        "data",
        low=0,
        below=1,
    )
    normalization: str = _flag(
        "unit",
        "Pixels to model inputs: unit (x/255), standardize (zero mean and unit variance a "
        "channel over the training set), none (0..255).",
        "data",
        choices=NORMALIZATIONS,
    )
    augment_shift: int = _flag(
        0, "Random shifts of at most this many pixels, edges reflected.", "data", low=0
    )
    augment_flip: bool = _flag(False, "Random horizontal flips.", "data")
    augment_cutout: int = _flag(
        0, "Side in pixels of a random square set to the mean; 0: none.", "data", low=0
    )

    # -- model -----------------------------------------------------------------------------
    model: str = _flag(
        "lenet5", f"One of {', '.join(NETWORK_NAMES)}, or FILE.keras: your own.", "data"
    )
    dropout: float = _flag(
        -1.0, "Dropout rate of the fc layers; -1: the network's own.", "dense", below=1
    )
    conv1_stride: int = _flag(0, "Stride of AlexNet's conv1; 0: the network's own.", "data", low=0)

    # -- dense training --------------------------------------------------------------------
    epochs: int = _flag(20, "Epochs of dense training.", "dense", low=0)
    batch_size: int = _flag(128, "Images a training step.", "dense", low=1)
    optimizer: str = _flag(
        "adam", "adam, or sgd (Nesterov, momentum 0.9).", "data", choices=OPTIMIZERS
    )
    learning_rate: float = _flag(1e-3, "First learning rate.", "dense", low=0)
    lr_decay_rate: float = _flag(
        0.1, "Factor of the learning rate at each boundary.", "dense", low=0, high=1
    )
    lr_decay_epochs: int = _flag(0, "A boundary every this many epochs; 0: none.", "dense", low=0)
    lr_boundaries: tuple[int, ...] = _flag(
        (), "Boundaries in epochs, ascending; instead of --lr_decay_epochs.", "dense", low=1
    )
    lr_warmup_epochs: float = _flag(
        0.0, "Epochs of linear warm-up from zero, step by step.", "dense", low=0
    )
    weight_decay: float = _flag(
        0.0, "Decoupled decay of kernels: w -= rate * weight_decay * w a step.", "data", low=0
    )
    label_smoothing: float = _flag(0.0, "Label smoothing.", "data", low=0, below=1)

    # -- pruning ---------------------------------------------------------------------------
    group: str = _flag(
        "fc",
        "Layers under one target: conv, fc, all, or names (a,b); wildcards work. The output "
        "layer stays dense unless named.",
        "prune",
    )
    exclude_layers: tuple[str, ...] = _flag((), "Layers of the group to keep dense.", "prune")
    sparsity: float = _flag(
        0.9,
        "Fraction of the group's weights to remove; 0: train only. With --layer_sparsity or "
        "--stddev_quality, which decide, only what tables call the target.",
        "prune",
        low=0,
        below=1,
    )
    allocation: str = _flag(
        "global",
        "How the target becomes layer sparsities: global (one threshold for the group), uniform "
        "(the same in each layer), explicit (--layer_sparsity), stddev (threshold = quality x "
        "standard deviation of the layer), sensitivity (what costs the least accuracy by a scan "
        "of each layer alone).",
        "prune",
        choices=(*ALLOCATIONS, "sensitivity"),
    )
    layer_sparsity: tuple[str, ...] = _flag(
        (), "Sparsity by layer, as fc1=0.4724,fc2=0.4356; with --allocation=explicit.", "prune"
    )
    stddev_quality: float = _flag(
        0.0, "Quality of --allocation=stddev; 0: the one that reaches --sparsity.", "prune", low=0
    )
    accuracy_budget: float = _flag(
        0.0,
        "With --allocation=sensitivity: remove what costs at most this much accuracy before "
        "retraining, as predicted, instead of --sparsity; 0: --sparsity decides.",
        "prune",
        low=0,
        high=1,
    )
    sensitivity_sparsities: tuple[float, ...] = _flag(
        LADDER, "Sparsities at which the sensitivity scan measures each layer.", "prune", below=1
    )
    criterion: str = _flag(
        "magnitude",
        "What scores a weight: magnitude, or random (a control).",
        "prune",
        choices=tuple(CRITERIA),
    )
    schedule: str = _flag(
        "one_shot",
        "When weights are removed: one_shot, iterative (--rounds of pruning and retraining), "
        "gradual (more and more of them while retraining).",
        "prune",
        choices=SCHEDULES,
    )
    gradual_epochs: float = _flag(
        0.0,
        "Epochs of retraining after which --schedule=gradual has removed all; "
        "0: half of --retrain_epochs.",
        "prune",
        low=0,
    )
    gradual_interval: int = _flag(
        100, "Steps from one removal to the next with --schedule=gradual.", "prune", low=1
    )

    # -- retraining ------------------------------------------------------------------------
    retrain_epochs: int = _flag(
        20, "Epochs of retraining (iterative: in the last round).", "retrain", low=0
    )
    rounds: int = _flag(
        5, "Rounds of --schedule=iterative; density falls evenly, geometrically.", "retrain", low=1
    )
    round_epochs: int = _flag(
        0,
        "Epochs of each round of --schedule=iterative but the last; 0: --retrain_epochs.",
        "retrain",
        low=0,
    )
    rewind: str = _flag(
        "none",
        "What retraining goes back to: none, rate (the learning rates of dense training, from "
        "--rewind_epoch on), weights (those, and the weights of that epoch under the masks found: "
        "the lottery ticket).",
        "retrain",
        choices=REWINDS,
    )
    rewind_epoch: int = _flag(
        0, "Epochs of dense training that --rewind keeps; 0: from its beginning.", "retrain", low=0
    )
    retrain_batch_size: int = _flag(0, "Images a step; 0: --batch_size.", "retrain", low=0)
    retrain_learning_rate: float = _flag(
        0.0, "First learning rate; 0: --learning_rate.", "retrain", low=0
    )
    retrain_lr_decay_rate: float = _flag(
        0.1, "Factor of the learning rate at each boundary.", "retrain", low=0, high=1
    )
    retrain_lr_decay_epochs: int = _flag(
        0, "A boundary every this many epochs; 0: none.", "retrain", low=0
    )
    retrain_lr_boundaries: tuple[int, ...] = _flag(
        (), "Boundaries in epochs, ascending; instead of the above.", "retrain", low=1
    )
    retrain_lr_warmup_epochs: float = _flag(0.0, "Epochs of linear warm-up.", "retrain", low=0)
    retrain_dropout: float = _flag(
        -1.0, "Dropout rate when retraining; -1: as in dense training.", "retrain", below=1
    )
    control: bool = _flag(
        True, "Train the control too: the unpruned baseline, same extra epochs.", "run"
    )

    # -- export ----------------------------------------------------------------------------
    export: bool = _flag(True, "Write and prove .keras and .tflite files of the result.", "run")
    code: bool = _flag(False, "Write and prove model.tfprune, the result coded to the bit.", "run")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_range(field, getattr(self, field.name))
        self._check_combinations()

    def _check_combinations(self) -> None:
        for prefix in ("", "retrain_"):
            boundaries = getattr(self, prefix + "lr_boundaries")
            every = getattr(self, prefix + "lr_decay_epochs")
            if boundaries and every:
                raise UsageError(
                    f"--{prefix}lr_boundaries and --{prefix}lr_decay_epochs exclude each other; "
                    f"received {text_of(boundaries)} and {every}"
                )
            if list(boundaries) != sorted(set(boundaries)):
                raise UsageError(
                    f"--{prefix}lr_boundaries must ascend; received {text_of(boundaries)}"
                )
        explicit = self.allocation == "explicit"
        if explicit != bool(self.layer_sparsity):
            raise UsageError(
                "--layer_sparsity and --allocation=explicit belong together; received "
                f"--allocation={self.allocation} --layer_sparsity={text_of(self.layer_sparsity)}"
            )
        if self.stddev_quality and self.allocation != "stddev":
            raise UsageError(
                "--stddev_quality needs --allocation=stddev; received "
                f"--allocation={self.allocation}"
            )
        self.sparsity_by_layer()
        self._check_sensitivity()
        check_schedule(self)
        check_rewind(self)
        self._check_model()

    def _check_sensitivity(self) -> None:
        try:
            ladder = check_ladder(self.sensitivity_sparsities)
        except UsageError as error:
            raise UsageError(f"--sensitivity_sparsities: {error}") from None
        if self.allocation != "sensitivity":
            if self.accuracy_budget:
                raise UsageError(
                    "--accuracy_budget needs --allocation=sensitivity; received "
                    f"--allocation={self.allocation}"
                )
            return
        if self.dry_run:
            raise UsageError(
                "--allocation=sensitivity scans a trained network, and --dry_run trains nothing; "
                "python -m tfprune.sensitivity shows what it proposes"
            )
        if self.sparsity > ladder[-1]:
            raise UsageError(
                "--sparsity must not exceed the last of --sensitivity_sparsities, where the scan "
                f"ends; received --sparsity={self.sparsity:g}, "
                f"--sensitivity_sparsities={text_of(ladder)}"
            )

    def _check_model(self) -> None:
        if self.user_model is None and self.model not in NETWORK_NAMES:
            raise UsageError(
                f"--model must be one of {', '.join(NETWORK_NAMES)}, or a FILE.keras; "
                f"received {self.model!r}"
            )
        has = NETWORKS[self.model].options if self.user_model is None else ()
        given = {
            "dropout": self.dropout >= 0 or self.retrain_dropout >= 0,
            "conv1_stride": self.conv1_stride > 0,
        }
        for option in given:
            if given[option] and option not in has:
                raise UsageError(
                    f"--{option} does not go with --model={self.model}; its own options: "
                    + (", ".join(f"--{name}" for name in has) or "none")
                )

    @property
    def ramp_epochs(self) -> float:
        """Epochs of retraining during which gradual pruning removes weights."""
        return self.gradual_epochs or self.retrain_epochs / 2

    @property
    def user_model(self) -> Path | None:
        """The user's own `.keras` file, or None where `model` names a network."""
        return Path(self.model) if self.model.endswith(".keras") else None

    @property
    def network(self) -> str:
        """The network's name: of the registry, or the stem of the user's file."""
        return self.user_model.stem if self.user_model else self.model

    @property
    def run_name(self) -> str:
        """`name`, or one made of network and target where it is empty."""
        if self.name:
            return self.name
        target = (
            f"{self.group.replace(',', '+')}{100 * self.sparsity:g}" if self.sparsity else "dense"
        )
        return f"{self.network}_{target}"

    @property
    def run_path(self) -> Path:
        """The run folder."""
        return Path(self.run_dir or Path(self.runs_dir) / f"{self.run_name}-seed{self.seed}")

    def sparsity_by_layer(self) -> dict[str, float]:
        """`layer_sparsity` as a map from layer name to sparsity in [0, 1)."""
        result = {}
        for item in self.layer_sparsity:
            name, _, value = item.partition("=")
            try:
                result[name] = float(value)
                if not (name and 0 <= result[name] < 1):
                    raise ValueError
            except ValueError:
                raise UsageError(
                    "--layer_sparsity takes NAME=SPARSITY,... with sparsities in [0, 1); "
                    f"received {item!r}"
                ) from None
        return result

    def shaping(self, *stages: str) -> dict[str, Any]:
        """The flags that shape the given stages and are not at their defaults, by name.

        A flag at its default leaves no mark, so that a run made before the flag existed
        still stands. Who changes a default has to rename the flag.
        """
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata["shapes"] in stages and getattr(self, field.name) != field.default
        }

    def to_flagfile(self) -> str:
        """All flags, one a line: a flagfile that reruns this run."""
        lines = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool):
                lines.append(f"--{'' if value else 'no'}{field.name}")
            else:
                lines.append(f"--{field.name}={text_of(value)}")
        return "\n".join(lines) + "\n"


#: Flag -> its default.
DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Config)}


def text_of(value: Any) -> str:
    """A flag's value as it is typed."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _check_range(field: dataclasses.Field, value: Any) -> None:
    meta = field.metadata
    if meta["choices"] and value not in meta["choices"]:
        raise UsageError(
            f"--{field.name} must be one of {', '.join(meta['choices'])}; received {value!r}"
        )
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, str):
            continue
        low, high, below = meta["low"], meta["high"], meta["below"]
        if not (low <= number <= high and number < below and math.isfinite(number)):
            upper = f"{below:g})" if below < math.inf else f"{high:g}]"
            raise UsageError(
                f"--{field.name} must be in [{low:g}, {upper}; received {text_of(value)}"
            )
