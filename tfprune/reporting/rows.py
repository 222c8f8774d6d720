"""From summaries to rows: one row a configuration, its seeds together.

A configuration is (network, data set, group, target, name). Its seeds give a mean, a smallest
and a largest value. Runs that did not go to their end have rows of their own and are in no
mean. Published configurations without a run have rows too. All values are fractions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from tfprune.errors import TfpruneError
from tfprune.reporting.published import (
    PublishedResult,
    published_layer_sparsities,
    published_result,
    published_results,
)
from tfprune.reporting.summary import COMPLETE

Summary = Mapping[str, Any]

NOT_RUN = "not run"

_GROUP_ORDER = ("dense", "conv", "fc", "all")

#: How the names of runs with the published hyperparameters begin.
_PUBLISHED_SETTINGS = "published_"

#: What seeds of one configuration share; a mean over runs that differ in it would mislead.
_SETTINGS = (
    "allocation",
    "criterion",
    "schedule",
    "rewind",
    "teacher",
    "epochs",
    "retrain_epochs",
    "learning_rate",
    "lr_decay",
    "batch_size",
    "optimizer",
)


@dataclass(frozen=True)
class Spread:
    """Mean, smallest and largest of `count` values."""

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """The spread of the values that are there, or None where none is."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        # Summed as a difference from the first, so that equal values have exactly their mean.
        mean = known[0] + sum(value - known[0] for value in known) / len(known)
        return cls(mean, min(known), max(known), len(known))


@dataclass(frozen=True)
class ResultRow:
    """One row of the results: the runs of one configuration, beside what is published.

    `status` is `complete` (`runs` are its seeds), another status (`runs` is that one run)
    or `not run` (`runs` is empty, `name` too).
    """

    network: str
    dataset: str
    group: str
    target: float
    name: str
    status: str
    runs: tuple[Summary, ...]
    published: PublishedResult | None

    @property
    def has_published_settings(self) -> bool:
        """Whether the runs are those of the published hyperparameters, rather than ours."""
        return self.name.startswith(_PUBLISHED_SETTINGS)

    def spread(self, value: Callable[[Summary], float | None]) -> Spread | None:
        """The spread of `value(run)` over the runs."""
        return Spread.of(value(run) for run in self.runs)


@dataclass(frozen=True)
class LayerRow:
    """One layer of a configuration: ours over the seeds, and the published sparsity.

    `shape` is empty and `size` None where no run has the layer.
    """

    name: str
    shape: str
    size: int | None
    kept: Spread | None
    sparsity: Spread | None
    published: float | None


def final_accuracy(run: Summary) -> float | None:
    """The headline: after the last epoch, which for a baseline is that of its training."""
    if run["final_accuracy"] is None and run["group"] == "dense":
        return run["dense_accuracy"]
    return run["final_accuracy"]


def schedule_of(run: Summary) -> str:
    """When weights were removed, in words: `iterative, 5 rounds`, `one shot, weights of epoch 1`.

    And whether an unpruned network taught what was left: `gradual, distilled`. Learning rates
    rewound are not said: `lr_decay` has them.
    """
    words = {"one_shot": "one shot", "gradual": "gradual"}
    text = words.get(run["schedule"] or "one_shot", str(run["schedule"]))
    if run["rounds"]:
        text += f", {len(run['rounds'])} rounds"
    what, _, place = (run["rewind"] or "none").partition(", ")
    text += f", weights of {place}" if what == "weights" else ""
    return text + (", distilled" if run["teacher"] else "")


def final_minus_control(run: Summary) -> float | None:
    """Headline minus control, of the same seed."""
    final, control = final_accuracy(run), run["control_accuracy"]
    return None if final is None or control is None else final - control


def tflite_accuracy(run: Summary) -> float | None:
    """Accuracy of the float32 TFLite file."""
    return ((run["exports"] or {}).get("tflite") or {}).get("accuracy")


def weights(run: Summary) -> tuple[int, int] | None:
    """(kept, total) weights over all prunable layers."""
    layers = run["layers"]
    if not layers:
        return None
    return sum(layer["kept"] for layer in layers), sum(layer["size"] for layer in layers)


def audit_verdict(run: Summary) -> str | None:
    """`ok` if every stage is, else the stages that are not; None without an audit."""
    audit = run["audit"]
    if not audit:
        return None
    return ", ".join(f"{stage}: {said}" for stage, said in audit.items() if said != "ok") or "ok"


def epochs_done(run: Summary) -> tuple[int | None, int | None]:
    """Epochs of (dense training, retraining) that took place; None where nobody knows.

    A complete run without a history did the epochs asked for: 0, or a model of the user's.
    """
    dense, retrain = run["dense_history"], run["history"]
    complete = run["status"] == COMPLETE
    dense_epochs = len(dense) if dense else (run["epochs"] if complete else None)
    if run["group"] == "dense":
        return dense_epochs, None
    return dense_epochs, len(retrain) if retrain else (run["retrain_epochs"] if complete else None)


def result_rows(summaries: Iterable[Summary]) -> list[ResultRow]:
    """One row a configuration, one an incomplete run, one a published result without a run.

    Published rows are those of the networks and data sets of which a run has a published
    counterpart: other experiments on the same network do not list them. The order does not
    depend on that of `summaries`.

    Raises:
        TfpruneError: seeds of one configuration differ in their settings.
    """
    groups: dict[tuple, list[Summary]] = {}
    for run in summaries:
        complete = run["status"] == COMPLETE
        place = (run["network"], run["dataset"] or "", run["group"], run["target_sparsity"])
        own = () if complete else (run["status"], run["seed"])
        groups.setdefault((*place, run["name"], *own), []).append(run)
    rows = []
    for key, runs in groups.items():
        runs.sort(key=itemgetter("seed"))
        _check_same_settings(runs)
        network, dataset, group, target, name = key[:5]
        published = published_result(network, group, target)
        if published and published.dataset != dataset:
            published = None
        status = runs[0]["status"]
        rows.append(
            ResultRow(network, dataset, group, target, name, status, tuple(runs), published)
        )
    sections = {(row.network, row.dataset) for row in rows if row.published}
    taken = {row.published for row in rows}
    rows += [
        ResultRow(found.network, found.dataset, found.group, found.sparsity, "", NOT_RUN, (), found)
        for found in published_results()
        if (found.network, found.dataset) in sections and found not in taken
    ]
    return sorted(rows, key=_order)


def sections(rows: Iterable[ResultRow]) -> dict[tuple[str, str], list[ResultRow]]:
    """(network, data set) -> its rows, in order."""
    result: dict[tuple[str, str], list[ResultRow]] = {}
    for row in rows:
        result.setdefault((row.network, row.dataset), []).append(row)
    return result


def layer_rows(row: ResultRow) -> list[LayerRow]:
    """The layers that were pruned in any run, or have a published sparsity, in model order."""
    known = published_layer_sparsities(row.network, row.group, row.target) if row.published else {}
    found: dict[str, list[Summary]] = {}
    for run in row.runs:
        for layer in run["layers"] or ():
            found.setdefault(layer["name"], []).append(layer)
    result = []
    for name, layers in found.items():
        if name in known or any(layer["pruned"] for layer in layers):
            kept, sparsity = (
                Spread.of(layer[key] for layer in layers) for key in ("kept", "sparsity")
            )
            shape = "x".join(map(str, layers[0]["shape"]))
            size = layers[0]["size"]
            result.append(LayerRow(name, shape, size, kept, sparsity, known.get(name)))
    result += [
        LayerRow(name, "", None, None, None, sparsity)
        for name, sparsity in known.items()
        if name not in found
    ]
    return result


def _order(row: ResultRow) -> tuple:
    networks = list(dict.fromkeys(found.network for found in published_results()))
    return (
        networks.index(row.network) if row.network in networks else len(networks),
        row.network,
        row.dataset,
        _GROUP_ORDER.index(row.group) if row.group in _GROUP_ORDER else len(_GROUP_ORDER),
        row.group,
        row.target,
        row.has_published_settings,
        row.name,
        row.status != COMPLETE,
        row.runs[0]["seed"] if row.runs else -1,
        row.status,
    )


def _check_same_settings(runs: Sequence[Summary]) -> None:
    for setting in _SETTINGS:
        if any((run[setting] or "none") != (runs[0][setting] or "none") for run in runs):
            found = ", ".join(f"{run[setting]} (seed {run['seed']})" for run in runs)
            raise TfpruneError(
                f"seeds of {runs[0]['name']!r} differ in {setting}, so that their mean would "
                f"say nothing; give other settings another --name; received {found}"
            )
