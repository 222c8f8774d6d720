"""The published results that ours stand beside, as data.

`published_results.csv` holds one row a configuration, `published_layer_sparsities.csv` one
row a layer. Cells that their author left blank are None here. Sparsities and accuracies are
fractions.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

#: Targets closer than this are the same target.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class PublishedResult:
    """One published configuration.

    `first_test_accuracy` is right after pruning, `first_epoch_accuracy` after one epoch of
    retraining, `accuracy` after `epochs`. `lr_decay` reads `0.1/50 epochs` (times 0.1 every
    50 epochs) or `none`. `group` is `dense` with sparsity 0 for an unpruned network.
    """

    network: str
    dataset: str
    group: str
    sparsity: float
    first_test_accuracy: float | None
    first_epoch_accuracy: float | None
    accuracy: float | None
    epochs: int | None
    learning_rate: float | None
    lr_decay: str
    batch_size: int | None
    remark: str


@dataclass(frozen=True)
class PublishedLayer:
    """The published sparsity of one layer in the configuration (network, group, target)."""

    network: str
    group: str
    group_sparsity: float
    layer: str
    sparsity: float


@functools.cache
def published_results() -> tuple[PublishedResult, ...]:
    """All published configurations, in the order of their tables."""
    return tuple(
        PublishedResult(
            network=row["network"],
            dataset=row["dataset"],
            group=row["group"],
            sparsity=float(row["sparsity"]),
            first_test_accuracy=_number(row["first_test_accuracy"]),
            first_epoch_accuracy=_number(row["first_epoch_accuracy"]),
            accuracy=_number(row["accuracy"]),
            epochs=_count(row["epochs"]),
            learning_rate=_number(row["learning_rate"]),
            lr_decay=row["lr_decay"],
            batch_size=_count(row["batch_size"]),
            remark=row["remark"],
        )
        for row in _read("published_results.csv")
    )


@functools.cache
def published_layers() -> tuple[PublishedLayer, ...]:
    """All published layer sparsities, in the order of their tables and of the layers."""
    return tuple(
        PublishedLayer(
            network=row["network"],
            group=row["group"],
            group_sparsity=float(row["group_sparsity"]),
            layer=row["layer"],
            sparsity=float(row["sparsity"]),
        )
        for row in _read("published_layer_sparsities.csv")
    )


def published_result(network: str, group: str, sparsity: float) -> PublishedResult | None:
    """The published configuration with this target, or None where there is none."""
    for row in published_results():
        same = (row.network, row.group) == (network, group)
        if same and abs(row.sparsity - sparsity) < _TOLERANCE:
            return row
    return None


def published_layer_sparsities(network: str, group: str, sparsity: float) -> dict[str, float]:
    """Layer name -> published sparsity under this target; empty where nothing is published."""
    return {
        row.layer: row.sparsity
        for row in published_layers()
        if (row.network, row.group) == (network, group)
        and abs(row.group_sparsity - sparsity) < _TOLERANCE
    }


def _read(name: str) -> Iterator[dict[str, str]]:
    text = resources.files("tfprune.reporting").joinpath(name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


def _count(cell: str) -> int | None:
    return int(cell) if cell else None
