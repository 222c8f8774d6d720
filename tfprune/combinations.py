"""Which flags go together; `config` asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfprune.coding import OTHER_BITS
from tfprune.errors import UsageError
from tfprune.flag_field import text_of
from tfprune.models import NETWORK_NAMES, NETWORKS
from tfprune.pruning.criteria import CRITERIA
from tfprune.pruning.curves import check_ladder
from tfprune.pruning.granularity import parse_granularity

if TYPE_CHECKING:
    from tfprune.config import Config

_NEEDS = {
    "rounds": "iterative",
    "round_epochs": "iterative",
    "gradual_epochs": "gradual",
    "gradual_interval": "gradual",
}
#: Flags of the learning rate of retraining, which --rewind replaces.
_RETRAIN_RATE = (
    "retrain_learning_rate",
    "retrain_lr_decay_rate",
    "retrain_lr_decay_epochs",
    "retrain_lr_boundaries",
    "retrain_lr_warmup_epochs",
)


#: Kinds of TFLite file that `--quantize` writes.
TFLITE_KINDS = ("float16", "dynamic", "int8", "qat", "sparse", "sparse+float16")


def check_quantize(config: Config) -> None:
    """Refuses kinds of TFLite file that are none, or convert and do not run."""
    for kind in config.quantize:
        words = set(kind.split("+"))
        if "sparse" in words and words & {"dynamic", "int8", "qat"}:
            raise UsageError(
                f"--quantize={kind} would give a file that converts and does not run: LiteRT's "
                "default XNNPACK delegate fails on int8 weights in TFLite's sparse encoding; "
                "possible are sparse and sparse+float16"
            )
        if kind not in TFLITE_KINDS:
            raise UsageError(f"--quantize takes {', '.join(TFLITE_KINDS)}; received {kind!r}")
    if len(set(config.quantize)) < len(config.quantize):
        raise UsageError(f"--quantize takes each kind once; received {_shown(config, 'quantize')}")
    if config.quantize and not config.export:
        raise UsageError(
            f"--quantize needs --export; received {_shown(config, 'quantize')} --noexport"
        )
    if "qat" in config.quantize:
        if config.strategy != "none":
            raise UsageError(
                f"--quantize=qat trains on one device; received --strategy={config.strategy}"
            )
        return
    for name in ("qat_epochs", "qat_learning_rate"):
        if _given(config, name):
            raise UsageError(
                f"--{name} needs --quantize=qat; received --quantize={_shown(config, 'quantize')}"
            )


def check_learning_rates(config: Config) -> None:
    """Refuses boundaries beside a period, or out of order."""
    for prefix in ("", "retrain_"):
        boundaries = getattr(config, prefix + "lr_boundaries")
        every = getattr(config, prefix + "lr_decay_epochs")
        if boundaries and every:
            raise UsageError(
                f"--{prefix}lr_boundaries and --{prefix}lr_decay_epochs exclude each other; "
                f"received {text_of(boundaries)} and {every}"
            )
        if list(boundaries) != sorted(set(boundaries)):
            raise UsageError(f"--{prefix}lr_boundaries must ascend; received {text_of(boundaries)}")


def check_model(config: Config) -> None:
    """Refuses a network that is not known, and options that it does not have."""
    if config.user_model is None and config.model not in NETWORK_NAMES:
        raise UsageError(
            f"--model must be one of {', '.join(NETWORK_NAMES)}, or a FILE.keras; "
            f"received {config.model!r}"
        )
    has = NETWORKS[config.model].options if config.user_model is None else ()
    given = {
        "dropout": config.dropout >= 0 or config.retrain_dropout >= 0,
        "conv1_stride": config.conv1_stride > 0,
    }
    for option in given:
        if given[option] and option not in has:
            raise UsageError(
                f"--{option} does not go with --model={config.model}; its own options: "
                + (", ".join(f"--{name}" for name in has) or "none")
            )


def check_target(config: Config) -> None:
    """Refuses two targets at once, and allocations, granularities and criteria that need others."""
    if (config.allocation == "explicit") != bool(config.layer_sparsity):
        raise UsageError(
            "--layer_sparsity and --allocation=explicit belong together; received "
            f"--allocation={config.allocation} "
            f"--layer_sparsity={_shown(config, 'layer_sparsity')}"
        )
    if config.stddev_quality and config.allocation != "stddev":
        raise UsageError(
            f"--stddev_quality needs --allocation=stddev; received --allocation={config.allocation}"
        )
    try:
        granularity = parse_granularity(config.granularity)
    except UsageError as error:
        raise UsageError(f"--{error}") from None
    budgets = [name for name in ("target_bytes", "target_macs") if _given(config, name)]
    if budgets and not config.sparsity:
        raise UsageError(f"--sparsity=0 prunes nothing; received --{budgets[0]} beside it")
    others = [*budgets, *(["stddev_quality"] if config.stddev_quality else [])]
    if len(others) > 1 or (budgets and config.allocation in ("explicit", "sensitivity")):
        raise UsageError(
            f"--{budgets[0]} finds the sparsity of the group, under an allocation that takes one; "
            f"received --allocation={config.allocation} "
            + " ".join(f"--{name}={_shown(config, name)}" for name in others)
        )
    if granularity.kind == "n:m":
        for name in (*others, "allocation", "criterion_rounds"):
            if _given(config, name):
                raise UsageError(
                    f"--granularity={config.granularity} says what goes in each layer, so that "
                    f"--{name} does not go with it; received {_shown(config, name)}"
                )
    if _given(config, "criterion_images") and CRITERIA[config.criterion].gradient != "loss":
        raise UsageError(
            "--criterion_images needs a criterion of the loss: "
            + ", ".join(name for name, known in CRITERIA.items() if known.gradient == "loss")
            + f"; received --criterion={config.criterion}"
        )


def check_sharing(config: Config) -> None:
    """Refuses bits that are none, and how to share weights, or code, where that is not done."""
    if config.share_bits:
        config.bits_by_layer()
    for name in ("initialisation", "rate", "bytes", "epochs", "learning_rate", "lr_boundaries"):
        if _given(config, f"share_{name}") and not config.share_bits:
            raise UsageError(
                f"--share_{name} needs --share_bits; received {_shown(config, f'share_{name}')}"
            )
    if config.share_bytes and config.share_rate:
        raise UsageError(
            "--share_bytes and --share_rate exclude each other; "
            f"received {config.share_bytes} and {config.share_rate:g}"
        )
    if config.share_bytes and not config.code:
        raise UsageError(f"--share_bytes needs --code; received {config.share_bytes}")
    if list(config.share_lr_boundaries) != sorted(set(config.share_lr_boundaries)):
        raise UsageError(
            f"--share_lr_boundaries must ascend; received {_shown(config, 'share_lr_boundaries')}"
        )
    if config.other_bits not in OTHER_BITS:
        raise UsageError(
            f"--other_bits must be one of {', '.join(map(str, OTHER_BITS))}; "
            f"received {config.other_bits}"
        )
    for name in ("coder", "other_bits"):
        if _given(config, name) and not config.code:
            raise UsageError(f"--{name} needs --code; received {_shown(config, name)}")


def check_sensitivity(config: Config) -> None:
    """Refuses flags of a sensitivity scan without one, and what a scan cannot serve."""
    try:
        ladder = check_ladder(config.sensitivity_sparsities)
    except UsageError as error:
        raise UsageError(f"--sensitivity_sparsities: {error}") from None
    if config.allocation != "sensitivity":
        if config.accuracy_budget:
            raise UsageError(
                "--accuracy_budget needs --allocation=sensitivity; received "
                f"--allocation={config.allocation}"
            )
        return
    if config.dry_run:
        raise UsageError(
            "--allocation=sensitivity scans a trained network, and --dry_run trains nothing; "
            "python -m tfprune.sensitivity shows what it proposes"
        )
    if config.sparsity > ladder[-1]:
        raise UsageError(
            "--sparsity must not exceed the last of --sensitivity_sparsities, where the scan "
            f"ends; received --sparsity={config.sparsity:g}, "
            f"--sensitivity_sparsities={_shown(config, 'sensitivity_sparsities')}"
        )
    if config.granularity != "weight" or CRITERIA[config.criterion].gradient:
        raise UsageError(
            "a sensitivity scan removes single weights by a criterion without gradients; "
            f"received --granularity={config.granularity} --criterion={config.criterion}"
        )


def check_schedule(config: Config) -> None:
    """Refuses flags of another schedule, and targets that no schedule can lead up to."""
    for name, schedule in _NEEDS.items():
        if config.schedule != schedule and _given(config, name):
            raise UsageError(
                f"--{name} needs --schedule={schedule}; received --{name}={_shown(config, name)} "
                f"--schedule={config.schedule}"
            )
    if config.schedule == "one_shot":
        return
    for name in ("layer_sparsity", "stddev_quality", "target_bytes", "target_macs"):
        if name == "layer_sparsity" and config.schedule == "gradual":
            continue  # there each layer has its own way to its own target
        if _given(config, name):
            raise UsageError(
                f"--schedule={config.schedule} leads up to one --sparsity for the group, so that "
                f"--{name} does not go with it; received {_shown(config, name)}"
            )
    if parse_granularity(config.granularity).kind == "n:m":
        raise UsageError(
            f"--granularity={config.granularity} removes its share at once; received "
            f"--schedule={config.schedule}"
        )
    if config.allocation == "sensitivity":
        raise UsageError(
            f"--schedule={config.schedule} allocates anew whenever it removes weights; "
            "--allocation=sensitivity proposes for the dense network once: --schedule=one_shot"
        )
    if config.schedule == "gradual" and config.ramp_epochs >= config.retrain_epochs:
        raise UsageError(
            "--schedule=gradual removes the last weights while it retrains: --gradual_epochs must "
            f"be less than --retrain_epochs; received {config.gradual_epochs:g} and "
            f"{config.retrain_epochs}"
        )


def check_rewind(config: Config) -> None:
    """Refuses rewinding to where nothing is, and learning rates beside those it replays."""
    if config.rewind == "none":
        if config.rewind_epoch:
            raise UsageError(
                "--rewind_epoch needs --rewind=rate or weights; received "
                f"--rewind_epoch={config.rewind_epoch}"
            )
        return
    if config.rewind_epoch > config.epochs:
        raise UsageError(
            f"--rewind_epoch must be at most --epochs={config.epochs}; received "
            f"{config.rewind_epoch}"
        )
    if config.user_model is not None:
        raise UsageError(
            "--rewind goes back in the dense training, which a given model has behind it; "
            f"received --rewind={config.rewind} --model={config.model}"
        )
    if config.rewind == "weights" and config.schedule == "gradual":
        raise UsageError(
            "--rewind=weights needs masks that stand before retraining begins: "
            "--schedule=one_shot or iterative; received --schedule=gradual"
        )
    for name in _RETRAIN_RATE:
        if _given(config, name):
            raise UsageError(
                f"--rewind={config.rewind} takes the learning rates of dense training, so that "
                f"--{name} does not go with it; received {_shown(config, name)}"
            )


def check_distillation(config: Config) -> None:
    """Refuses a temperature without a teacher, and a teacher that workers do not have."""
    if config.distill and config.strategy != "none":
        raise UsageError(
            "--distill needs --strategy=none: the teacher is on one device; received "
            f"--strategy={config.strategy}"
        )
    if not config.distill and _given(config, "distill_temperature"):
        raise UsageError(
            f"--distill_temperature needs --distill; received {config.distill_temperature:g}"
        )


def _given(config: Config, name: str) -> bool:
    return getattr(config, name) != type(config).__dataclass_fields__[name].default


def _shown(config: Config, name: str) -> str:
    return text_of(getattr(config, name))
