"""Allocations by a sparsity for each layer: uniform, erk, explicit. NumPy only."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from tfprune.errors import UsageError
from tfprune.pruning.masks import removed_count
from tfprune.pruning.rule import (
    Allocation,
    Arrays,
    Target,
    allocation,
    cut_each,
    group_count,
    require,
)


@allocation("uniform")
def uniform(scores: Arrays, weights: Arrays, target: Target) -> Allocation:
    """The same fraction of each layer, rounded by largest remainder to the group's n.

    The quota of a layer is n N_i / N, in whole numbers and so without rounding error. A
    remainder shared by two layers goes to the earlier one.
    """
    require("uniform", target, "sparsity")
    count = group_count(scores, target)
    total = sum(array.size for array in scores.values())
    return _share(scores, count, [Fraction(count * a.size, total) for a in scores.values()])


@allocation("erk")
def erk(scores: Arrays, weights: Arrays, target: Target) -> Allocation:
    """Erdos-Renyi-Kernel: small layers are kept denser than large ones.

    The density of a layer is eps x (sum of its kernel's dimensions) / (their product), with
    the one eps at which the group keeps N - n; for a convolution that is (k_h + k_w + in +
    out) / (k_h k_w in out). A layer that would get a density above 1 stays dense, and the
    rest is shared anew among the others. Quotas are exact fractions, rounded by largest
    remainder. Source: Evci et al. 2020, *Rigging the Lottery*, section 3.
    """
    require("erk", target, "sparsity")
    count = group_count(scores, target)
    sizes = {name: array.size for name, array in scores.items()}
    raw = {
        name: Fraction(sum(weights[name].shape) * size, weights[name].size)
        for name, size in sizes.items()
    }
    quotas = dict.fromkeys(sizes, Fraction(0))
    shared = list(sizes)
    while True:
        kept = sum(sizes.values()) - count - sum(sizes[k] for k in sizes if k not in shared)
        eps = kept / sum((raw[name] for name in shared), Fraction(0))
        dense = [name for name in shared if eps * raw[name] > sizes[name]]
        if not dense:
            break
        shared = [name for name in shared if name not in dense]
    quotas |= {name: sizes[name] - eps * raw[name] for name in shared}
    return _share(scores, count, list(quotas.values()))


@allocation("explicit")
def explicit(scores: Arrays, weights: Arrays, target: Target) -> Allocation:
    """A sparsity for each layer, each rounded by itself; patterns as in `by_layer`."""
    require("explicit", target, "layer_sparsity")
    wanted = by_layer(target.layer_sparsity or {}, scores)
    removed = []
    for name, array in scores.items():
        count = removed_count(array.size, wanted[name])
        if count and count >= array.size:
            raise UsageError(
                f"layer {name!r} has {array.size} weights and must keep one. "
                f"Received: layer_sparsity {wanted[name]!r}, which removes {count}"
            )
        removed.append(count)
    return cut_each(scores, removed, [False] * len(removed))


def by_layer(wanted: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
    """Resolves a map of names and patterns: the sparsity of each layer.

    Args:
        wanted: layer name, or pattern with the wildcards *, ? and [...] (* takes any "/",
            too) -> sparsity. An exact name wins over every pattern; of several patterns the
            longest wins, and of equally long ones the first.
        names: the layers of the group, in model order.

    Raises:
        UsageError: a name or pattern that fits no layer, or a layer that nothing names.
    """
    names = list(names)
    fits = {
        key: [key] if key in names else [n for n in names if fnmatch.fnmatchcase(n, str(key))]
        for key in wanted
    }
    chosen = {}
    for name in names:
        keys = [name] if name in wanted else [key for key in wanted if name in fits[key]]
        if keys:
            chosen[name] = wanted[max(keys, key=len)]  # of equals, max gives the first
    for problem, missing in (
        ("names no layer of the group", [key for key in wanted if not fits[key]]),
        ("lacks layers of the group", [name for name in names if name not in chosen]),
    ):
        if missing:
            raise UsageError(
                f"layer_sparsity {problem}: {', '.join(map(str, missing))}. "
                f"The group is: {', '.join(names)}"
            )
    return chosen


def _share(scores: Arrays, count: int, quotas: Sequence[Fraction]) -> Allocation:
    """Rounds quotas of removed weights to whole ones that sum to `count`.

    By largest remainder, of equals the earlier layer. It is known to step back: at a higher
    count a layer may get one less. What a layer has lost before (its scores of -inf) is
    therefore not asked back where that lies within the rounding.
    """
    sizes = [array.size for array in scores.values()]
    order = sorted(range(len(sizes)), key=lambda i: math.floor(quotas[i]) - quotas[i])
    lost = [int(np.count_nonzero(np.isneginf(array))) for array in scores.values()]
    floors = [min(n, math.ceil(quota)) for n, quota in zip(lost, quotas, strict=True)]
    if sum(floors) > count:  # less than was removed before: for the caller to refuse
        floors = [0] * len(sizes)
    start = [max(math.floor(quota), least) for quota, least in zip(quotas, floors, strict=True)]
    removed = _hand_out(count, start, order, floors, sizes)
    protected = [n == size for n, size in zip(removed, sizes, strict=True)]
    if any(protected):
        rooms = [size - 1 for size in sizes]
        start = [min(share, room) for share, room in zip(start, rooms, strict=True)]
        removed = _hand_out(count, start, order, floors, rooms)
    return cut_each(scores, removed, protected)


def _hand_out(
    count: int, start: list[int], order: list[int], floors: list[int], rooms: list[int]
) -> list[int]:
    """Brings the sum of `start` to `count`, one a layer in `order`, round after round."""
    shares = list(start)
    missing = count - sum(shares)
    while missing > 0:
        for i in order:
            if missing and shares[i] < rooms[i]:
                shares[i] += 1
                missing -= 1
    while missing < 0:
        for i in reversed(order):
            if missing and shares[i] > floors[i]:
                shares[i] -= 1
                missing += 1
    return shares
