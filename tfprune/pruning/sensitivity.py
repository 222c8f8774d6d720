"""The sensitivity scan: one layer pruned, the others dense, over a ladder of sparsities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfprune.backend import tf
from tfprune.errors import UsageError
from tfprune.pruning.criteria import score
from tfprune.pruning.curves import LADDER, Sensitivity, check_ladder, ladder_count
from tfprune.pruning.loading import check_model
from tfprune.pruning.masks import keep_largest
from tfprune.pruning.prunable import select
from tfprune.pruning.pruner import prune, set_masks, strip

#: (layer, sparsity) -> accuracy; the dense model's is at (None, 0.0).
Points = Mapping[tuple[str | None, float], float]


def sensitivity(
    model: Any,
    evaluate: Callable[[Any], float],
    *,
    layers: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] = (),
    sparsities: Sequence[float] = LADDER,
    criterion: str = "magnitude",
    seed: int = 0,
    measured: Points | None = None,
    on_point: Callable[[str | None, float, float], None] | None = None,
) -> Sensitivity:
    """Measures what pruning each layer alone costs (Han et al. 2015, figure 6).

    Each layer of the group in turn loses floor(s N + 0.5) of its N weights (but never the
    last) for each s of the ladder, while the others stay dense; nothing is retrained. The
    result's `propose` turns the curves into an allocation.

    Args:
        model: as for `prune`. It is not changed; weights that are zero already go first.
        evaluate: takes a model, gives its accuracy, or any number of which more is better.
            It is always the same model, not compiled, with other weights. Judge on images
            held out of training, not on those that will judge the result.
        layers: the group, in the words of `prune`.
        exclude: layers to leave out, in the same words.
        sparsities: the ladder, ascending, in (0, 1).
        criterion: what scores a weight, as for `prune`.
        seed: of criteria that draw random numbers.
        measured: points known from an earlier scan, which are not measured again:
            (layer, sparsity) -> accuracy, the dense model's at (None, 0.0).
        on_point: called as on_point(layer, sparsity, accuracy) for each new point.

    Raises:
        UsageError: an argument or a model that cannot be used, or an `evaluate` that gives
            no finite number.
        TfpruneError: weights that are NaN.
    """
    check_model(model)
    ladder = check_ladder(sparsities)
    known = dict(measured or {})
    # Whatever was removed from a pruned model is zero in the stripped one, and so goes first.
    wrapped = prune(strip(model), 0.0, layers=layers, exclude=exclude)
    group = select(wrapped, layers, exclude)
    dense = wrapped.get_weights()  # masks included
    rng = np.random.default_rng(seed)

    def measure(layer: str | None, sparsity: float) -> None:
        known[layer, sparsity] = _number(evaluate(wrapped))
        if on_point is not None:
            on_point(layer, sparsity, known[layer, sparsity])

    if (None, 0.0) not in known:
        measure(None, 0.0)
    sizes = {}
    for prunable in group:
        name = prunable.name
        scores = score(criterion, tf.convert_to_tensor(prunable.variable).numpy(), rng)
        sizes[name] = scores.size
        for sparsity in ladder:
            if (name, sparsity) not in known:
                mask = keep_largest(scores, ladder_count(scores.size, sparsity))
                set_masks(wrapped, {prunable.key: mask})
                measure(name, sparsity)
        wrapped.set_weights(dense)
    curves = {name: tuple((s, known[name, s]) for s in ladder) for name in sizes}
    return Sensitivity(known[None, 0.0], sizes, curves)


def _number(value: Any) -> float:
    """What `evaluate` gave, as a float."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(
            f"evaluate must give the model's accuracy, one finite number. Received: {value!r}"
        )
    return number
