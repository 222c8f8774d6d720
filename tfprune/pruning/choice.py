"""From a group and a target to the masks of the group: score, allocate, cut, round by round."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from absl import logging

from tfprune.backend import tf
from tfprune.errors import UsageError
from tfprune.pruning.allocation import Allocation, Target, allocate
from tfprune.pruning.budget import Budget, check_reachable, layer_bytes, least_removed
from tfprune.pruning.criteria import known_criterion
from tfprune.pruning.flow import check_flow
from tfprune.pruning.gradients import gradients_of
from tfprune.pruning.granularity import Granularity, parse_granularity
from tfprune.pruning.macs import macs, positions
from tfprune.pruning.prunable import Prunable, describe
from tfprune.pruning.scored import ScoredLayer
from tfprune.pruning.threshold import RANKINGS

#: Allocations that take the counts of layers from their shapes, whatever the scores.
_BY_SHAPE = ("uniform", "erk", "explicit")


@dataclasses.dataclass(frozen=True)
class Request:
    """What `prune` was asked for, beside the model and the group; see there."""

    target: Target
    target_bytes: int | None = None
    target_macs: int | None = None
    allocation: str = "global"
    granularity: str | tuple[int, int] = "weight"
    criterion: str = "magnitude"
    criterion_rounds: int | None = None
    data: Any = None
    loss: Any = None
    seed: int = 0

    def given(self) -> dict[str, Any]:
        """What says how much goes, by the names of `prune`'s arguments."""
        budgets = {"target_bytes": self.target_bytes, "target_macs": self.target_macs}
        every = dataclasses.asdict(self.target) | budgets
        return {name: value for name, value in every.items() if value is not None}


def choose_masks(model: Any, group: list[Prunable], request: Request) -> dict[str, np.ndarray]:
    """The masks of a group, by key. What was removed before scores lowest.

    With several rounds, each scores anew what the one before left, at a density that falls
    geometrically; only the last one's counts have to be exact.

    Raises:
        UsageError: anything in the request that cannot be met.
        TfpruneError: scores that are NaN.
    """
    granularity = parse_granularity(request.granularity)
    rounds = _rounds(request, granularity)
    budget = _budget(model, group, request)
    gradients = gradients_of(
        known_criterion(request.criterion).gradient, model, group, request.data, request.loss
    )
    rng = np.random.default_rng(request.seed)
    layers = [ScoredLayer(p, granularity) for p in group]
    lost = {layer.name: layer.lost for layer in layers}
    target = request.target
    for number in range(1, rounds + 1):
        found = gradients({layer.name: layer.mask for layer in layers}) if gradients else {}
        for layer in layers:
            layer.score(request.criterion, rng, found.get(layer.name))
        if granularity.kind == "n:m":
            return {layer.key: layer.n_of_m() for layer in layers}
        if budget is not None and number in (1, rounds):
            target = Target(sparsity=_sparsity_for(budget, layers, request.allocation))
        decided = _decide(layers, request.allocation, target.part(number / rounds))
        if number == rounds:
            _check(decided, layers, lost)
            _warn(decided)
        for layer in layers:
            removed = max(decided.removed[layer.name], layer.lost)
            layer.cut(removed, decided.thresholds[layer.name])
    return {layer.key: layer.whole_mask() for layer in layers}


def check_request(model: Any, group: list[Prunable], request: Request) -> None:
    """Refuses what `choose_masks` would refuse whatever the weights are worth.

    It neither sorts nor bisects, nor computes a gradient: equal scores stand in for all.

    Raises:
        UsageError: a request that no weights of these shapes, and masks, can meet.
    """
    granularity = parse_granularity(request.granularity)
    _rounds(request, granularity)
    if known_criterion(request.criterion).gradient == "flow":
        check_flow(model)
    layers = [ScoredLayer(p, granularity) for p in group]
    budget = _budget(model, group, request)
    if budget is not None:
        check_reachable(budget.cost({layer.name: layer.least for layer in layers}), budget)
    elif granularity.kind != "n:m" and request.target.quality is None:
        for layer in layers:
            layer.score_alike()
        allocation = request.allocation if request.allocation in _BY_SHAPE else "global"
        decided = _decide(layers, allocation, request.target)
        _check(decided, layers, {layer.name: layer.lost for layer in layers})


def unit_counts(
    group: list[Prunable], granularity: str | tuple[int, int]
) -> dict[str, tuple[int, int]]:
    """Layer -> (units without a weight, all units), as a target counts them.

    Units are filters or blocks under these granularities, single weights under any other.

    Raises:
        UsageError: a granularity that is not known, or that a layer of the group does not have.
    """
    layers = [ScoredLayer(p, parse_granularity(granularity)) for p in group]
    return {layer.name: (layer.lost, layer.size) for layer in layers}


def _rounds(request: Request, granularity: Granularity) -> int:
    """How often what is left is scored; checks the request where N:M leaves no choice."""
    rounds = request.criterion_rounds
    if rounds is not None and (type(rounds) is not int or rounds < 1):
        raise UsageError(f"criterion_rounds must be a whole number >= 1. Received: {rounds!r}")
    if granularity.kind != "n:m":
        return rounds or known_criterion(request.criterion).rounds
    implied, given = granularity.implied_sparsity, request.given()
    if given.get("sparsity") == implied:
        del given["sparsity"]
    if request.allocation != "global":
        given["allocation"] = request.allocation
    if (rounds or 1) > 1:
        given["criterion_rounds"] = rounds
    if given:
        shown = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise UsageError(
            f"granularity {request.granularity!r} implies sparsity {implied:g} in each layer, at "
            f"once, and takes no other target. Received: {shown}"
        )
    return 1


def _decide(layers: list[ScoredLayer], allocation: str, target: Target) -> Allocation:
    scores = {layer.name: layer.scores for layer in layers}
    return allocate(allocation, scores, {layer.name: layer.weights for layer in layers}, target)


def _check(decided: Allocation, layers: list[ScoredLayer], lost: dict[str, int]) -> None:
    """Refuses to give weights back."""
    for layer in layers:
        if decided.removed[layer.name] < lost[layer.name]:
            raise UsageError(
                f"layer {layer.name!r} has lost {lost[layer.name]} of its {layer.scores.size} "
                f"{layer.things} before, and removed stays removed. Received: a target that "
                f"removes {decided.removed[layer.name]} of them"
            )


def _warn(decided: Allocation) -> None:
    """Says what was protected."""
    if decided.protected:
        logging.warning(
            "the target would have removed the last weight of these layers; they keep one, and "
            "others went instead: %s",
            ", ".join(decided.protected),
        )


def _budget(model: Any, group: list[Prunable], request: Request) -> Budget | None:
    """The budget of a request, None where a sparsity or the like decides.

    Bytes: 4 for each value of every variable, but `layer_bytes` for the layers of the group,
    and for others that were pruned before. Multiply-accumulates: as `macs` counts them.
    """
    given = request.given()
    names = [name for name in ("target_bytes", "target_macs") if name in given]
    if not names:
        return None
    what = names[0]
    if len(given) > 1 or request.allocation == "explicit":
        shown = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise UsageError(
            f"{what} finds the sparsity of the group under an allocation that takes one, and "
            f"stands alone. Received: {shown}, allocation={request.allocation!r}"
        )
    limit = given[what]
    if type(limit) is not int or limit < 1:
        raise UsageError(f"{what} must be a whole number >= 1. Received: {limit!r}")
    if what == "target_bytes":
        return _bytes_budget(model, group, limit)
    return _macs_budget(model, group, limit)


def _bytes_budget(model: Any, group: list[Prunable], limit: int) -> Budget:
    names = {p.name for p in group}
    variables = [w for w in model.weights if tf.as_dtype(w.dtype) != tf.bool]  # masks are
    total = 4 * sum(int(np.prod(w.shape)) for w in variables)
    rows = describe(model)
    for row in rows:
        total -= 4 * row.size
        if row.name not in names:
            total += layer_bytes(row.size, row.kept)
    costs = {
        row.name: functools.partial(layer_bytes, row.size) for row in rows if row.name in names
    }
    return Budget("target_bytes", limit, total, costs)


def _macs_budget(model: Any, group: list[Prunable], limit: int) -> Budget:
    uses = positions(model)
    times = {p.name: uses.get(p.path, 0) for p in group}
    total = sum(kept for _, kept in macs(model).values())
    for p in group:
        total -= times[p.name] * int(np.count_nonzero(tf.convert_to_tensor(p.variable).numpy()))
    costs = {name: functools.partial(int.__mul__, count) for name, count in times.items()}
    return Budget("target_macs", limit, total, costs)


def _sparsity_for(budget: Budget, layers: list[ScoredLayer], allocation: str) -> float:
    """The smallest sparsity of the group at which the model meets the budget."""
    total = sum(layer.scores.size for layer in layers)
    scores = {layer.name: layer.scores for layer in layers}
    weights = {layer.name: layer.weights for layer in layers}
    if allocation in RANKINGS:
        scores, allocation = RANKINGS[allocation](scores, weights), "global"

    def cost(count: int) -> int:
        removed = allocate(allocation, scores, weights, Target(sparsity=count / total)).removed
        return budget.cost({layer.name: layer.kept(removed[layer.name]) for layer in layers})

    least = sum(layer.lost for layer in layers)
    return least_removed(cost, least, total - len(layers), budget) / total
