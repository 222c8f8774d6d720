"""Allocation: how the target of a group becomes a number of weights removed per layer.

NumPy only. An allocation is a function `(scores, weights, target) -> Allocation`; add one by
decorating it with `@allocation("its_name")`. All of them keep two promises: a group of N
weights at sparsity s loses exactly n = floor(s N + 0.5), and no layer loses its last weight.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfprune.errors import UsageError
from tfprune.pruning.masks import refuse_nan, removed_count

#: Layer name -> array, in model order.
Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Target:
    """What the user asks for; each allocation takes the fields it knows and refuses the rest.

    Attributes:
        sparsity: fraction of the group's weights to remove, in [0, 1).
        layer_sparsity: layer name -> fraction of that layer's weights to remove, in [0, 1).
        quality: Han's quality parameter: threshold in standard deviations, >= 0.
    """

    sparsity: float | None = None
    layer_sparsity: Mapping[str, float] | None = None
    quality: float | None = None


@dataclasses.dataclass(frozen=True)
class Allocation:
    """Weights removed per layer.

    Attributes:
        removed: layer name -> number of weights removed, in model order.
        thresholds: layer name -> the score at which the layer is cut: weights below it go,
            weights above it stay, at it the lowest index goes first; -inf where none goes.
        protected: layers that would have lost their last weight and kept it.
    """

    removed: dict[str, int]
    thresholds: dict[str, float]
    protected: tuple[str, ...] = ()


Rule = Callable[[Arrays, Arrays, Target], Allocation]

#: Name -> allocation.
ALLOCATIONS: dict[str, Rule] = {}


def allocation(name: str) -> Callable[[Rule], Rule]:
    """Registers the decorated function under `name`."""

    def register(function: Rule) -> Rule:
        ALLOCATIONS[name] = function
        return function

    return register


def allocate(name: str, scores: Arrays, weights: Arrays, target: Target) -> Allocation:
    """Decides how many weights each layer of a group loses.

    Args:
        name: a key of `ALLOCATIONS`.
        scores: layer name -> scores, in model order; the lowest go first. -inf marks weights
            that are removed already.
        weights: layer name -> weights of the same shapes (`stddev` needs them).
        target: what is asked for.

    Raises:
        UsageError: unknown allocation, a target that it cannot use or that cannot be reached.
        TfpruneError: a score is NaN.
    """
    if name not in ALLOCATIONS:
        raise UsageError(f"allocation must be one of {', '.join(ALLOCATIONS)}. Received: {name!r}")
    for layer, array in scores.items():
        refuse_nan(array, f"layer {layer!r}")
    return ALLOCATIONS[name](scores, weights, target)


@allocation("global")
def global_threshold(scores: Arrays, weights: Arrays, target: Target) -> Allocation:
    """One threshold for the whole group: its n lowest scores go, wherever they are.

    The "equivalent rate" of the published tables. Ties: the lowest index in model order.
    """
    _require("global", target, "sparsity")
    return _lowest(scores, _group_count(scores, target))


@allocation("uniform")
def uniform(scores: Arrays, weights: Arrays, target: Target) -> Allocation:
    """The same fraction of each layer, rounded by largest remainder to the group's n.

    The quota of a layer is n N_i / N, in whole numbers and so without rounding error. A
    remainder shared by two layers goes to the earlier one.
    """
    _require("uniform", target, "sparsity")
    count = _group_count(scores, target)
    sizes = [array.size for array in scores.values()]
    shares = [divmod(count * size, sum(sizes)) for size in sizes]
    order = sorted(range(len(sizes)), key=lambda i: -shares[i][1])
    removed = _hand_out(count, [share for share, _ in shares], order, sizes)
    protected = [n == size for n, size in zip(removed, sizes, strict=True)]
    if any(protected):
        rooms = [size - 1 for size in sizes]
        start = [min(share, room) for (share, _), room in zip(shares, rooms, strict=True)]
        removed = _hand_out(count, start, order, rooms)
    return _per_layer(scores, removed, protected)


@allocation("explicit")
def explicit(scores: Arrays, weights: Arrays, target: Target) -> Allocation:
    """A sparsity for each layer, each rounded by itself."""
    _require("explicit", target, "layer_sparsity")
    wanted = target.layer_sparsity or {}
    for problem, names in (
        ("names no layer of the group", [name for name in wanted if name not in scores]),
        ("lacks layers of the group", [name for name in scores if name not in wanted]),
    ):
        if names:
            raise UsageError(
                f"layer_sparsity {problem}: {', '.join(map(str, names))}. "
                f"The group is: {', '.join(scores)}"
            )
    removed = []
    for name, array in scores.items():
        count = removed_count(array.size, wanted[name])
        if count and count >= array.size:
            raise UsageError(
                f"layer {name!r} has {array.size} weights and must keep one. "
                f"Received: layer_sparsity {wanted[name]!r}, which removes {count}"
            )
        removed.append(count)
    return _per_layer(scores, removed, [False] * len(removed))


@allocation("stddev")
def stddev(scores: Arrays, weights: Arrays, target: Target) -> Allocation:
    """Weights that score below quality x std(weights of the layer) go.

    Given a sparsity instead of a quality, the quality is solved for: the n lowest values of
    score / std go, which is the global rule on that ratio. A layer without spread (std = 0)
    has no weight below its threshold, and goes last. Source: Han et al. 2015, section 3.
    """
    spreads = {name: float(np.std(weights[name], dtype=np.float64)) for name in scores}
    if target.quality is None:
        _require("stddev", target, "sparsity", "quality")
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = {
                name: array / np.float32(spreads[name])
                if spreads[name] > 0
                else np.where(np.isneginf(array), array, np.inf).astype(np.float32)
                for name, array in scores.items()
            }
        solved = _lowest(ratios, _group_count(scores, target))
        thresholds = {
            name: ratio if math.isinf(ratio) else ratio * spreads[name]
            for name, ratio in solved.thresholds.items()
        }
        return dataclasses.replace(solved, thresholds=thresholds)
    _require("stddev", target, "quality", "sparsity")
    if not 0 <= target.quality < math.inf:
        raise UsageError(f"quality must be a finite number >= 0. Received: {target.quality!r}")
    below = [
        int(np.count_nonzero(array < target.quality * spreads[name]))
        for name, array in scores.items()
    ]
    protected = [n == array.size for n, array in zip(below, scores.values(), strict=True)]
    removed = [n - last for n, last in zip(below, protected, strict=True)]
    return _per_layer(scores, removed, protected)


def _require(name: str, target: Target, field: str, alternative: str = "") -> None:
    """Refuses a target that lacks `field`, or has any other."""
    given = [f.name for f in dataclasses.fields(target) if getattr(target, f.name) is not None]
    if given != [field]:
        either = f"{field} or {alternative}" if alternative else field
        raise UsageError(
            f"allocation {name!r} takes {either}, and nothing else. "
            f"Received: {', '.join(given) or 'none'}"
        )


def _group_count(scores: Arrays, target: Target) -> int:
    """N and s -> n, where each layer can keep a weight."""
    total = sum(array.size for array in scores.values())
    count = removed_count(total, target.sparsity)  # type: ignore[arg-type]
    if count > total - len(scores):
        raise UsageError(
            f"a group of {total} weights in {len(scores)} layers can lose at most "
            f"{total - len(scores)}: each layer keeps its last weight. "
            f"Received: sparsity {target.sparsity!r}, which removes {count}"
        )
    return count


def _lowest(scores: Arrays, count: int) -> Allocation:
    """The `count` lowest scores of the group, without the last-to-go one of each layer.

    Costs one partition of the group and one buffer of its size.
    """
    if count == 0:
        return _per_layer(scores, [0] * len(scores), [False] * len(scores))
    lasts = {name: _last_to_go(array.ravel()) for name, array in scores.items()}
    buffer = _without(scores, lasts)
    buffer.partition(count - 1)
    cut = buffer[count - 1]
    removed, ties = {}, {}
    for name, array in scores.items():
        last = array.ravel()[lasts[name]]
        removed[name] = int(np.count_nonzero(array < cut)) - int(last < cut)
        ties[name] = int(np.count_nonzero(array == cut)) - int(last == cut)
    left = count - sum(removed.values())
    protected = []
    for name, array in scores.items():
        taken = min(left, ties[name])
        removed[name] += taken
        left -= taken
        last = array.ravel()[lasts[name]]
        # Its turn came: it scores below the cut, or at it while others there still had to go.
        if last < cut or (last == cut and left > 0):
            protected.append(name)
    thresholds = {name: float(cut) if n else -math.inf for name, n in removed.items()}
    return Allocation(removed, thresholds, tuple(protected))


def _last_to_go(flat: np.ndarray) -> int:
    """Index of the highest score; of equals, the last one (the lowest index goes first)."""
    return flat.size - 1 - int(np.argmax(flat[::-1]))


def _without(scores: Arrays, lasts: Mapping[str, int]) -> np.ndarray:
    """All scores but one a layer, in one array; their order does not matter to a partition."""
    total = sum(array.size for array in scores.values())
    buffer = np.empty(total - len(scores), dtype=np.result_type(*scores.values()))
    start = 0
    for name, array in scores.items():
        flat, part = array.ravel(), buffer[start : start + array.size - 1]
        part[:] = flat[:-1]
        if lasts[name] < part.size:
            part[lasts[name]] = flat[-1]
        start += part.size
    return buffer


def _hand_out(count: int, start: list[int], order: list[int], rooms: list[int]) -> list[int]:
    """Adds to `start`, one a layer in `order`, round after round, until it sums to `count`."""
    shares = list(start)
    missing = count - sum(shares)
    while missing:
        for i in order:
            if missing and shares[i] < rooms[i]:
                shares[i] += 1
                missing -= 1
    return shares


def _per_layer(scores: Arrays, removed: Sequence[int], protected: Sequence[bool]) -> Allocation:
    """The allocation whose layers are cut each by itself."""
    thresholds = {
        name: float(np.partition(array, n - 1, axis=None)[n - 1]) if n else -math.inf
        for (name, array), n in zip(scores.items(), removed, strict=True)
    }
    kept_last = tuple(name for name, last in zip(scores, protected, strict=True) if last)
    return Allocation(dict(zip(scores, removed, strict=True)), thresholds, kept_last)
