"""What happens between the dense network and the result: prune, rewind, retrain.

Each function is one stage in a folder: found there, or done. The story that calls them is
told in `experiment`.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tfprune.baseline import rewind_weights
from tfprune.compression.price import price_within
from tfprune.compression.sharing import share_kernels
from tfprune.config import Config
from tfprune.errors import TfpruneError
from tfprune.export.qat import quantize_aware
from tfprune.figures import sparsity_of
from tfprune.pruning.choice import unit_counts
from tfprune.pruning.curves import Proposal
from tfprune.pruning.masks import load_masks, save_masks
from tfprune.pruning.prunable import describe, select
from tfprune.pruning.pruner import get_masks, prune, set_masks, strip
from tfprune.pruning.schedule import update_at
from tfprune.pruning_flags import group_of, prune_arguments, ramp_of
from tfprune.rounds import Round, control_rounds, prune_flags
from tfprune.run_dir import RunDir, fingerprint
from tfprune.setting import Setting
from tfprune.training.distillation import Teacher
from tfprune.training.stage import train_stage

History = list[dict[str, Any]]


def protected_layers(config: Config, model: Any) -> list[str]:
    """The layers of the group that have one unit left (weight, filter, block): it stays.

    A function of the masks, and so the same for a run that resumes.
    """
    counts = unit_counts(select(model, **group_of(config)), config.granularity)
    return [name for name, (lost, size) in counts.items() if size - lost == 1]


def train_control(
    setting: Setting, baseline: RunDir, dense_weights: list[np.ndarray]
) -> tuple[Any, History]:
    """Retrains the network unpruned, as the pruned one will be: (model, history).

    It goes through the same rounds: as many epochs, the same batches and learning rates, a
    new optimizer in each. With rewound weights it starts from those, as each round does.
    """
    model = setting.new_model(setting.retrain_flags["retrain_dropout"])
    rewinds = setting.config.rewind == "weights"
    model.set_weights(rewind_weights(setting) if rewinds else dense_weights)
    history: History = []
    for item in control_rounds(setting):
        stage, mark = f"control-{item.control_mark[:8]}", item.control_mark
        plan = dataclasses.replace(item.plan, stage=item.plan.stage.replace("retrain", "control"))
        flags = setting.retrain_flags
        history = joined(history, train_stage(setting, baseline, stage, flags, mark, model, plan))
    return model, history


def prune_round(
    setting: Setting,
    folder: RunDir,
    item: Round,
    model: Any,
    propose: Callable[[], Proposal] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Prunes, keeps the masks, and measures what is left.

    Masks that stand from an earlier session are set as they are, no weight being scored again,
    if they and the weights to prune are, to the bit, what the record tells. If not, the same
    masks must come out again, which the audit that follows tells: else weights and folder do
    not belong together.

    Args:
        setting: of the run.
        folder: where masks and record are kept.
        item: the round.
        model: the one to prune. It is not changed.
        propose: gives what a sensitivity scan proposes instead of any target, when it is needed.

    Returns:
        A new model; and its accuracies, with the `crc32` of weights and masks, which a record
        of an older version does not have.
    """
    stage, flags = item.stage("prune"), setting.dense_flags | prune_flags(setting)
    held = folder.begin(stage, flags, item.prune_mark)
    weights = _crc32(model.get_weights())
    if held is not None:
        masks = _masks_there(folder, stage)
        if held.get("crc32") == _crc32(masks.values(), weights):
            # Stripped: under the masks of the round before, 0.0 would give weights back.
            model = prune(strip(model), 0.0, **group_of(setting.config))
            set_masks(model, masks)
            return model, held
    proposed = None if propose is None else propose()
    model = prune(model, **prune_arguments(setting, model, item.sparsity, proposed))
    if held is None:
        masks = get_masks(model)
        save_masks(folder.masks_of(stage), masks)
        held = setting.evaluator(model)() | {"crc32": _crc32(masks.values(), weights)}
        folder.finish(stage, flags, item.prune_mark, held)
    return model, held


def _masks_there(folder: RunDir, stage: str) -> dict[str, np.ndarray]:
    """The masks that a stage left; none where there is no whole file, which an audit refuses."""
    try:
        return load_masks(folder.masks_of(stage))
    except TfpruneError:
        return {}


def rewound(setting: Setting, model: Any) -> Any:
    """A new model with the masks of a pruned one and the dense weights of `--rewind_epoch`.

    The lottery ticket. Sources: Frankle & Carbin 2019 (back to the initialisation); Frankle
    et al. 2020, Linear Mode Connectivity (back to an early epoch).
    """
    plain = setting.new_model(setting.retrain_flags["retrain_dropout"])
    plain.set_weights(rewind_weights(setting))
    ticket = prune(plain, 0.0, **group_of(setting.config))
    set_masks(ticket, get_masks(model))
    return ticket


def retrain_round(
    setting: Setting, folder: RunDir, item: Round, model: Any, teacher: Teacher | None
) -> History:
    """Trains what is left; what was removed stays exactly zero."""
    stage, flags, mark = item.stage("retrain"), setting.student_flags, item.retrain_mark
    return train_stage(setting, folder, stage, flags, mark, model, item.plan, teacher=teacher)


def retrain_gradually(
    setting: Setting, folder: RunDir, item: Round, model: Any, teacher: Teacher | None
) -> tuple[Any, History]:
    """Prunes step by step while training: (new model, history with `group_sparsity`).

    The masks are kept in the folder when the last weight goes; from then on training has to
    leave them alone, which the audit that follows tells.
    """
    config, ramp = setting.config, ramp_of(setting)
    model = prune(model, 0.0, **group_of(config))

    def before_step(step: int) -> int | None:
        sparsity = update_at(ramp, step)
        if sparsity:
            prune(model, **prune_arguments(setting, model, sparsity), in_place=True)
        if step == ramp.end_step:
            save_masks(folder.masks, get_masks(model))
        return ramp.next_update(step)

    def note_sparsity(record: dict[str, Any]) -> None:
        pruned = [layer for layer in describe(model) if layer.pruned]
        record["group_sparsity"] = sparsity_of(pruned)

    history = train_stage(
        setting,
        folder,
        item.stage("retrain"),
        setting.student_flags,
        item.retrain_mark,
        model,
        item.plan,
        after_epoch=note_sparsity,
        before_step=before_step,
        teacher=teacher,
    )
    return model, history


def share_round(
    setting: Setting, folder: RunDir, mark: str, model: Any, teacher: Teacher | None
) -> tuple[float, dict[str, Any], History]:
    """Shares the weights of a retrained model, in place, and trains its centroids.

    Sharing is a function of the weights and the flags, so that a run that resumes finds the
    same centroids and members.

    Returns:
        The price of a bit, the accuracies right after sharing, and the history.
    """
    config = setting.config
    price = _price(setting, folder, mark, model)
    members = share_kernels(
        model,
        config.bits_by_layer(),
        initialisation=config.share_initialisation,
        rate=price,
        seed=config.seed,
    )
    first = setting.evaluator(model)()
    flags, plan = setting.share_flags, setting.share_plan()
    history = train_stage(
        setting, folder, "share", flags, mark, model, plan, members=members, teacher=teacher
    )
    return price, first, history


#: What training of centroids may add to a file, as a fraction; see `price_within`.
_GROWTH = 0.003


def _price(setting: Setting, folder: RunDir, mark: str, model: Any) -> float:
    """That of --share_rate, or the one that --share_bytes comes to, looked for once."""
    config = setting.config
    if not config.share_bytes:
        return config.share_rate
    stage, flags = "share-price", setting.share_flags
    held = folder.begin(stage, flags, mark)
    if held is None:
        growth = math.ceil(_GROWTH * config.share_bytes) if config.share_epochs else 0
        price = price_within(
            model,
            config.bits_by_layer(),
            max(config.share_bytes - growth, 1),
            initialisation=config.share_initialisation,
            seed=config.seed,
            coder=config.coder,
            other_bits=config.other_bits,
        )
        held = {"price": price}
        folder.finish(stage, flags, mark, held)
    return float(held["price"])


def train_quantized(
    setting: Setting, folder: RunDir, model: Any, masks: Mapping[str, np.ndarray] | None
) -> tuple[Any, History]:
    """Trains a result for int8: (model for a "qat" export, history).

    Args:
        setting: of the run.
        folder: where the stage is kept.
        model: a plain model, which is not changed.
        masks: of what stays zero, or None.
    """
    aware = quantize_aware(model, masks)
    flags = setting.qat_flags
    mark = fingerprint(flags, f"{_crc32(model.get_weights()):08x}")
    # Its layers hold rounded tensors where TensorBoard looks for weights.
    history = train_stage(
        setting, folder, "qat", flags, mark, aware, setting.qat_plan(), with_board=False
    )
    return aware, history


def _crc32(arrays: Iterable[np.ndarray], before: int = 0) -> int:
    """CRC-32 of the bytes of arrays, one after the other, and of what came before them."""
    for array in arrays:
        before = zlib.crc32(np.ascontiguousarray(array).data, before)
    return before


def joined(first: History, then: History) -> History:
    """Two histories as one; the epochs of the second are counted on."""
    done = len(first)
    return first + [row | {"epoch": done + row["epoch"]} for row in then]
