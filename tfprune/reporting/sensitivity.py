"""A sensitivity scan as JSON, as text for the console, and as flags of the main command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfprune.pruning.curves import Proposal, Sensitivity
from tfprune.pruning.masks import removed_count

SCHEMA = 1


def to_record(found: Sensitivity) -> dict[str, Any]:
    """The scan in JSON's types: `dense_accuracy`, and `layers` with their `points`."""
    layers = [
        {"name": name, "size": found.sizes[name], "points": [list(point) for point in curve]}
        for name, curve in found.curves.items()
    ]
    return {"dense_accuracy": found.dense_accuracy, "layers": layers}


def from_record(record: Mapping[str, Any]) -> Sensitivity:
    """The scan that `to_record` gave."""
    layers = record["layers"]
    return Sensitivity(
        record["dense_accuracy"],
        {layer["name"]: layer["size"] for layer in layers},
        {layer["name"]: tuple((s, a) for s, a in layer["points"]) for layer in layers},
    )


def proposal_row(
    found: Sensitivity, proposed: Proposal, target: Mapping[str, float], measured: float
) -> dict[str, Any]:
    """One of the `proposals` of `sensitivity.json`.

    Args:
        found: the scan.
        proposed: what it proposes.
        target: what was asked for: `accuracy_budget` or `sparsity`.
        measured: accuracy of the model pruned so, not retrained, on the scan's images.
    """
    return {
        "accuracy_budget": target.get("accuracy_budget"),
        "target_sparsity": target.get("sparsity"),
        "sparsity": proposed.sparsity,
        "predicted_accuracy": found.dense_accuracy - proposed.predicted_loss,
        "measured_accuracy": measured,
        "layers": [
            {"name": name, "removed": count, "sparsity": proposed.layer_sparsity[name]}
            for name, count in proposed.removed.items()
        ],
    }


def flags_of(proposed: Proposal) -> str:
    """The proposal as flags: `--allocation=explicit --group=... --layer_sparsity=...`.

    Each sparsity has as many digits as it takes to remove exactly the proposed count.
    """
    total = _digits(sum(proposed.removed.values()), sum(proposed.sizes.values()))
    pairs = [f"{name}={_digits(n, proposed.sizes[name])}" for name, n in proposed.removed.items()]
    return (
        f"--allocation=explicit --group={','.join(proposed.removed)} "
        f"--layer_sparsity={','.join(pairs)} --sparsity={total}"
    )


def console_text(row: Mapping[str, Any], proposed: Proposal) -> str:
    """One proposal for a reader: what goes where, what that costs, the flags."""
    budget, target = row["accuracy_budget"], row["target_sparsity"]
    asked = f"an accuracy budget of {budget:g}" if target is None else f"a sparsity of {target:g}"
    lines = [
        f"proposed for {asked}: {100 * proposed.sparsity:.2f} % removed; accuracy predicted "
        f"{row['predicted_accuracy']:.4f}, measured {row['measured_accuracy']:.4f}, not retrained",
    ]
    width = max(map(len, proposed.removed))
    for name, count in proposed.removed.items():
        size = proposed.sizes[name]
        lines.append(f"  {name:{width}}  {count:>11,} of {size:>11,}  {100 * count / size:6.2f} %")
    return "\n".join([*lines, f"as flags: {flags_of(proposed)}"])


def _digits(removed: int, size: int) -> str:
    """The shortest decimal fraction that removes exactly `removed` of `size` weights."""
    texts = (f"{removed / size:.{digits}f}" for digits in range(1, 18))
    return next(t for t in texts if float(t) < 1 and removed_count(size, float(t)) == removed)
