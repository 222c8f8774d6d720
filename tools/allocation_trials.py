"""Which layers miss their weights the most: a few steps of retraining, before hours of it.

    python tools/allocation_trials.py --flagfile=configs/compression/alexnet_context.cfg \\
        [--rounds=2] [--steps=60] [--keep=0.8,1.25] [--out=FILE.md]

Prunes the dense baseline of a run in one go as its flags allocate the target, then twice more for
each layer, which keeps the factors of `--keep` times as many. Every trial trains `--steps`
batches from there, the same ones, as the run's retraining would begin (labels alone), and tells
the mean loss of the last quarter of them. Only training images are seen.

A layer whose loss falls much for a kilobyte more should have it from one whose loss hardly rises
for a kilobyte less: at the best allocation of so many kilobytes all layers would gain the same.
Each round ends with the flags of an allocation that is a step nearer to that, and the next one
begins there. Kilobytes are an estimate: the zero-order entropy of a layer's mask, and 4 bits for
each value. All other flags are the experiment's; the baseline is trained first where it does not
stand.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tfprune.atomic import write_text
from tfprune.command import exit_status_of
from tfprune.config import Config
from tfprune.errors import UsageError
from tfprune.flags import parse
from tfprune.keras_line import choose_keras, keras_line_of
from tfprune.quiet import quiet

#: What a kept weight's value takes, as the criterion `rate` has it.
_VALUE_BITS = 4
#: The arguments of `tfprune.prune` that say what is removed where, not how it is chosen.
_WHAT = {"sparsity", "layers", "exclude", "allocation", "layer_sparsity", "quality"}
_WHAT |= {"target_bytes", "target_macs"}
#: A round multiplies what a layer keeps by at most this, or divides it.
_LARGEST_STEP = 1.5

#: Layer name -> (kept weights, all weights).
Weights = Mapping[str, tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Trial:
    """An allocation that was tried, and the loss that it came to."""

    name: str
    weights: Weights
    loss: float

    @property
    def kilobytes(self) -> float:
        """What all these kernels take in a file, about."""
        return sum(map(kilobytes, self.weights.values()))


def kilobytes(weights: tuple[int, int]) -> float:
    """Kilobytes of a layer that keeps k of n weights: n H(k / n) + 4 k bits, H the entropy."""
    kept, size = weights
    entropy = sum(-part * math.log2(part / size) for part in (kept, size - kept) if part)
    return (entropy + _VALUE_BITS * kept) / 8000


def scaled(weights: tuple[int, int], factor: float) -> tuple[int, int]:
    """A layer that keeps `factor` times as many weights, at least one and at most all."""
    kept, size = weights
    return min(max(1, round(factor * kept)), size), size


def sparsities(weights: Weights) -> dict[str, float]:
    """Layer name -> fraction removed."""
    return {name: 1 - kept / size for name, (kept, size) in weights.items()}


def gains(given: Trial, trials: Sequence[tuple[str, Trial]]) -> dict[str, float]:
    """Layer name -> loss that it saves a kilobyte: of its largest trial against its smallest.

    Infinite where more weights take no more bytes: a layer of which nearly all are kept.
    """
    result = {}
    for layer in given.weights:
        mine = [given, *(trial for name, trial in trials if name == layer)]
        least, most = (pick(mine, key=lambda t: t.weights[layer][0]) for pick in (min, max))
        grown = most.kilobytes - least.kilobytes
        result[layer] = max((least.loss - most.loss) / grown, 0.0) if grown > 0 else math.inf
    return result


def nearer(given: Weights, gain: Mapping[str, float]) -> dict[str, tuple[int, int]]:
    """As many kilobytes, where layers of much gain keep more: by the root of gain / level.

    The level is found by bisection; a factor is at least 1 / 1.5 and at most 1.5.
    """
    total = sum(map(kilobytes, given.values()))

    def at(level: float) -> dict[str, tuple[int, int]]:
        return {
            name: scaled(
                weights,
                min(max(math.sqrt(gain[name] / level), 1 / _LARGEST_STEP), _LARGEST_STEP),
            )
            for name, weights in given.items()
        }

    low, high = 1e-12, 1e12  # too much is kept, too little
    for _ in range(100):
        middle = math.sqrt(low * high)
        if sum(map(kilobytes, at(middle).values())) > total:
            low = middle
        else:
            high = middle
    return at(high)


def trying(config: Config, steps: int) -> Callable[[str, Mapping[str, float] | None], Trial]:
    """What tries an allocation, by its name: layer -> sparsity, or None for that of the flags.

    Layers that are not named stay whole.

    Raises:
        TfpruneError: flags that do not fit each other, or more steps than an epoch has.
    """
    with quiet():  # TensorFlow's greetings
        from tfprune.baseline import dense_model
        from tfprune.logs import log_to
        from tfprune.pruning.prunable import describe
        from tfprune.pruning.pruner import prune
        from tfprune.pruning_flags import group_of, prune_arguments
        from tfprune.setting import Setting, configure_tensorflow
        from tfprune.training.distribution import ONE_DEVICE
        from tfprune.training.randomness import epoch_order, stage_key
        from tfprune.training.steps import Steps

    configure_tensorflow(config)
    with log_to(None):
        setting = Setting(config)
        if not config.sparsity or not 4 <= steps <= setting.retrain_steps:
            raise UsageError(
                "trials take a run that prunes, and from 4 steps to those of an epoch, "
                f"{setting.retrain_steps}; received --sparsity={config.sparsity:g}, --steps={steps}"
            )
        dense = dense_model(setting)[0].get_weights()
    plain = setting.new_model(setting.retrain_flags["retrain_dropout"])
    plain.set_weights(dense)
    model = prune(plain, 0.0, **group_of(config))
    unpruned, plan = model.get_weights(), setting.retrain_plan()
    training = Steps(model, plan, setting.dataset.train, setting.normalization, ONE_DEVICE)
    fresh = training.read()[len(unpruned) :]  # the optimizer's variables
    images, batch = len(setting.dataset.train.images), plan.batch_size
    order = epoch_order(stage_key(plan.seed, plan.draws), 0, images)
    order = order[: steps * batch].reshape(steps, batch)
    rates = plan.rate.steps(0, setting.retrain_steps)[:steps]

    as_flags = prune_arguments(setting, plain)
    how = {name: value for name, value in as_flags.items() if name not in _WHAT}

    def tried(name: str, allocation: Mapping[str, float] | None) -> Trial:
        model.set_weights(unpruned)  # masks, too
        if allocation is None:
            prune(model, **as_flags, in_place=True)
        elif allocation:
            prune(model, layer_sparsity=allocation, **how, in_place=True)
        weights = {each.name: (each.kept, each.size) for each in describe(model) if each.pruned}
        training.assign([*model.get_weights(), *fresh])
        losses, _ = training.run(order, rates, 0)
        trial = Trial(name, weights, float(np.mean(losses[-(steps // 4) :])))
        print(f"{name}: {trial.kilobytes:,.2f} kB, loss {trial.loss:.4f}", flush=True)
        return trial

    return tried


def table(dense: Trial, given: Trial, trials: Sequence[tuple[str, Trial]]) -> str:
    """Markdown: the dense network, the allocation that a round began with, its variants."""
    from tfprune.reporting.tables import NONE, markdown_table

    gain = gains(given, trials)
    lines = []
    for layer, trial in [("", dense), ("", given), *trials]:
        kept, size = (sum(part) for part in zip(*trial.weights.values(), strict=True))
        lines.append([trial.name, f"{kept:,} / {size:,}", f"{trial.kilobytes:,.2f}"])
        lines[-1] += [f"{trial.loss:.4f}", f"{gain[layer]:.2g}" if layer else NONE]
    return markdown_table(["keeps", "weights", "kB, about", "loss", "gain a kB"], lines, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1, help="allocations that are tried so")
    parser.add_argument("--steps", type=int, default=60, help="of training in each trial")
    parser.add_argument("--keep", default="0.8,1.25", help="factors, comma-separated")
    parser.add_argument("--out", type=Path, help="file for the tables")
    options, flags = parser.parse_known_args(arguments)
    try:
        factors = [float(factor) for factor in options.keep.split(",")]
    except ValueError:
        factors = []
    if not factors or min(factors) <= 0 or set(factors) == {1.0}:
        parser.error(f"--keep takes factors above 0, comma-separated; received {options.keep!r}")
    if options.rounds < 1:
        parser.error(f"--rounds takes a number from 1; received {options.rounds}")
    config = parse(flags)
    choose_keras(2 if config.user_model is None else keras_line_of(config.user_model))
    tried = trying(config, options.steps)
    dense, allocation, text = tried("dense", {}), None, ""
    for number in range(1, options.rounds + 1):
        given = tried(f"round {number}", allocation)
        trials = []
        for layer, weights in given.weights.items():
            for factor in factors:
                variant = sparsities({**given.weights, layer: scaled(weights, factor)})
                trials.append((layer, tried(f"{layer} x {factor:g}", variant)))
        allocation = sparsities(nearer(given.weights, gains(given, trials)))
        flag = ",".join(f"{name}={value:.4f}" for name, value in allocation.items())
        then = f"as flags: --allocation=explicit --layer_sparsity={flag}"
        text += f"{table(dense, given, trials)}\n\n{then}\n\n"
        print(f"\n{text.rstrip()}\n" if number == options.rounds else then, flush=True)
    if options.out:
        write_text(options.out, text)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status_of(main))
