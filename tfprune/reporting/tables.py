"""From summaries to tables: one row a configuration, its seeds together.

A configuration is (network, data set, group, target, name). Its seeds give a mean and, in
brackets, the smallest and the largest value. Runs that did not go to their end have rows of
their own, labelled with the epochs they got, and are in no mean. Published configurations
without a run have rows too. Accuracies are in percent in Markdown and fractions in CSV.
"""

from __future__ import annotations

import csv
import io
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
_NONE = "–"

#: What seeds of one configuration share; a mean over runs that differ in it would mislead.
_SETTINGS = (
    "allocation",
    "criterion",
    "schedule",
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

    def spread(self, value: Callable[[Summary], float | None]) -> Spread | None:
        """The spread of `value(run)` over the runs."""
        return Spread.of(value(run) for run in self.runs)


@dataclass(frozen=True)
class LayerRow:
    """One layer of a configuration: ours over the seeds, and the published sparsity."""

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

    Published rows are those of the networks and data sets that have a run. The order does
    not depend on that of `summaries`.

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
    sections = {(row.network, row.dataset) for row in rows}
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


def _order(row: ResultRow) -> tuple:
    networks = list(dict.fromkeys(found.network for found in published_results()))
    return (
        networks.index(row.network) if row.network in networks else len(networks),
        row.network,
        row.dataset,
        _GROUP_ORDER.index(row.group) if row.group in _GROUP_ORDER else len(_GROUP_ORDER),
        row.group,
        row.target,
        row.name.startswith("published_"),
        row.name,
        row.status != COMPLETE,
        row.runs[0]["seed"] if row.runs else -1,
        row.status,
    )


def _check_same_settings(runs: Sequence[Summary]) -> None:
    for setting in _SETTINGS:
        if any(run[setting] != runs[0][setting] for run in runs):
            found = ", ".join(f"{run[setting]} (seed {run['seed']})" for run in runs)
            raise TfpruneError(
                f"seeds of {runs[0]['name']!r} differ in {setting}, so that their mean would "
                f"say nothing; give other settings another --name; received {found}"
            )


# -- cells ---------------------------------------------------------------------------------


def _percent(value: float | None, sign: str = "") -> str:
    if value is None:
        return _NONE
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{round(100 * value, 2) + 0.0:{sign}.2f}"


def _percents(spread: Spread | None, seeds: int, sign: str = "") -> str:
    if spread is None:
        return _NONE
    text, low, high = (_percent(v, sign) for v in (spread.mean, spread.low, spread.high))
    if low != high:
        text += f" ({low}..{high})"
    return text if spread.count == seeds else f"{text} [{spread.count} of {seeds} seeds]"


def _whole(spread: Spread | None) -> str:
    if spread is None:
        return _NONE
    if spread.low == spread.high:
        return f"{spread.low:,.0f}"
    return f"{spread.mean:,.0f} ({spread.low:,.0f}..{spread.high:,.0f})"


def _epochs(row: ResultRow) -> str:
    dense = row.spread(lambda run: epochs_done(run)[0])
    retrain = row.spread(lambda run: epochs_done(run)[1])
    if row.group == "dense":
        return _whole(dense)
    return _NONE if dense is retrain is None else f"{_whole(dense)} + {_whole(retrain)}"


def _seeds(row: ResultRow) -> str:
    if row.status == NOT_RUN:
        return NOT_RUN
    if row.status == COMPLETE:
        return f"{len(row.runs)} seeds" if len(row.runs) > 1 else "1 seed"
    run = row.runs[0]
    asked = [run["epochs"]] if row.group == "dense" else [run["epochs"], run["retrain_epochs"]]
    of = " + ".join(_NONE if count is None else str(count) for count in asked)
    return f"seed {run['seed']}, **{row.status}** after {_epochs(row)} of {of} epochs"


def _best(row: ResultRow) -> str:
    best = row.spread(itemgetter("best_accuracy"))
    epochs = [str(run["best_epoch"]) for run in row.runs if run["best_epoch"] is not None]
    text = _percents(best, len(row.runs))
    return f"{text} at {', '.join(epochs)}" if best and epochs else text


def _weights(row: ResultRow) -> str:
    counts = [count for count in map(weights, row.runs) if count]
    kept, total = (Spread.of(count[part] for count in counts) for part in (0, 1))
    return f"{_whole(kept)} / {_whole(total)}" if counts else _NONE


def _audit(row: ResultRow) -> str:
    verdicts = {audit_verdict(run) or "no audit" for run in row.runs}
    return "; ".join(sorted(verdicts)) if any(map(audit_verdict, row.runs)) else _NONE


def _markdown_table(header: Sequence[str], lines: Iterable[Sequence[str]], texts: int) -> str:
    """A Markdown table whose first `texts` columns are flush left, the others right."""
    aligned = ["---"] * texts + ["---:"] * (len(header) - texts)
    rows = [header, aligned, *lines]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)


# -- the results ---------------------------------------------------------------------------

_LEGEND = """\
Accuracies and sparsities are in percent, differences in percentage points. Accuracies are of
the whole test set: the mean over the seeds, in brackets the smallest and the largest. *First
test*: right after pruning. *First epoch*: after one epoch of retraining. *Final*, the headline:
after the last epoch. *Best epoch* is chosen on the test set, as the published tables do.
*Control*: the unpruned baseline after the same extra epochs; differences from it are seed by
seed. *Target*: fraction of the group's weights to remove. Generated by
`python -m tfprune.report`; not to be edited."""


def results_markdown(rows: Sequence[ResultRow]) -> str:
    """The results of each network: accuracies, the published ones beside them, sizes."""
    parts = []
    for (network, dataset), members in sections(rows).items():
        parts += [f"### {network} on {dataset or 'its data'}", _accuracy_table(members)]
        if any(row.published for row in members):
            parts += ["Beside the published results:", _published_table(members)]
        parts += ["Size and proof:", _size_table(members)]
    return "\n\n".join([*parts, _LEGEND]) + "\n"


def _head(row: ResultRow) -> list[str]:
    return [row.name or _NONE, row.group, _percent(row.target)]


def _accuracy_table(rows: Iterable[ResultRow]) -> str:
    header = ["run", "group", "target", "seeds", "dense", "control", "first test", "first epoch"]
    header += ["**final**", "best epoch", "final − control"]

    def line(row: ResultRow) -> list[str]:
        count = len(row.runs)
        stages = ("dense", "control", "first_test", "first_epoch")
        cells = [_percents(row.spread(itemgetter(f"{key}_accuracy")), count) for key in stages]
        final = _percents(row.spread(final_accuracy), count)
        cells += [final if final == _NONE else f"**{final}**", _best(row)]
        cells += [_percents(row.spread(final_minus_control), count, "+")]
        return [*_head(row), _seeds(row), *cells]

    return _markdown_table(header, map(line, rows), 4)


#: Heading, our value, published value.
_COMPARED: tuple[
    tuple[str, Callable[[Summary], float | None], Callable[[PublishedResult], float | None]],
    ...,
] = (
    (
        "first test",
        itemgetter("first_test_accuracy"),
        lambda found: found.first_test_accuracy,
    ),
    (
        "first epoch",
        itemgetter("first_epoch_accuracy"),
        lambda found: found.first_epoch_accuracy,
    ),
    ("final", final_accuracy, lambda found: found.accuracy),
)


def _published_table(rows: Iterable[ResultRow]) -> str:
    header = ["run", "group", "target", "seeds"]
    for stage, _, _ in _COMPARED:
        header += [f"{stage}: ours", "published", "difference"]
    header += ["epochs: ours", "published", "remark"]

    def line(row: ResultRow, found: PublishedResult) -> list[str]:
        cells = []
        for _, ours, theirs in _COMPARED:
            spread, known = row.spread(ours), theirs(found)
            difference = None if spread is None or known is None else spread.mean - known
            mean = None if spread is None else spread.mean
            cells += [_percent(mean), _percent(known), _percent(difference, "+")]
        epochs = _NONE if found.epochs is None else str(found.epochs)
        return [*_head(row), _seeds(row), *cells, _epochs(row), epochs, found.remark]

    lines = [line(row, row.published) for row in rows if row.published]
    return _markdown_table(header, lines, 4)


def _size_table(rows: Iterable[ResultRow]) -> str:
    header = ["run", "group", "target", "seeds", "group sparsity", "model sparsity"]
    header += ["weights kept / all", "epochs: dense + retraining", "TFLite accuracy", "audit"]

    def line(row: ResultRow) -> list[str]:
        count = len(row.runs)
        group = _percents(row.spread(itemgetter("group_sparsity")), count)
        model = _percents(row.spread(itemgetter("model_sparsity")), count)
        tflite = _percents(row.spread(tflite_accuracy), count)
        cells = [group, model, _weights(row), _epochs(row), tflite, _audit(row)]
        return [*_head(row), _seeds(row), *cells]

    return _markdown_table(header, [line(row) for row in rows if row.runs], 4)


_CSV_KEYS = (
    "dense_accuracy",
    "control_accuracy",
    "first_test_accuracy",
    "first_epoch_accuracy",
    "best_accuracy",
    "best_epoch",
    "validation_accuracy",
    "group_sparsity",
    "model_sparsity",
)


def results_csv(rows: Sequence[ResultRow]) -> str:
    """One line a run, fractions in full precision; published results without a run too."""
    buffer = io.StringIO()
    writer: csv.DictWriter | None = None
    for row in rows:
        for run in row.runs or (None,):
            line = _csv_line(row, run)
            if writer is None:
                writer = csv.DictWriter(buffer, list(line), lineterminator="\n")
                writer.writeheader()
            writer.writerow(line)
    return buffer.getvalue()


def _csv_line(row: ResultRow, run: Summary | None) -> dict[str, Any]:
    of = run or {}
    kept, total = (run and weights(run)) or (None, None)
    dense_epochs, retrain_epochs = epochs_done(run) if run else (None, None)
    line = {key: getattr(row, key) for key in ("network", "dataset", "group", "target", "name")}
    line |= {"seed": of.get("seed"), "status": row.status}
    line |= {key: of.get(key) for key in ("allocation", "criterion", "schedule")}
    line |= {"dense_epochs": dense_epochs, "retrain_epochs": retrain_epochs}
    line |= {key: of.get(key) for key in _CSV_KEYS}
    line |= {
        "final_accuracy": run and final_accuracy(run),
        "final_minus_control": run and final_minus_control(run),
        "weights_kept": kept,
        "weights_total": total,
        "tflite_accuracy": run and tflite_accuracy(run),
        "audit": run and audit_verdict(run),
    }
    for key in ("first_test_accuracy", "first_epoch_accuracy", "accuracy", "epochs"):
        line[f"published_{key}"] = getattr(row.published, key, None)
    return line


# -- the layers ----------------------------------------------------------------------------


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
        LayerRow(name, _NONE, None, None, None, sparsity)
        for name, sparsity in known.items()
        if name not in found
    ]
    return result


def layers_markdown(rows: Sequence[ResultRow]) -> str:
    """The sparsity of each pruned layer by configuration, beside the published one."""
    header = ["layer", "shape", "weights", "kept", "sparsity", "published", "difference"]
    parts = []
    for (network, dataset), members in sections(rows).items():
        parts.append(f"### {network} on {dataset or 'its data'}")
        for row in members:
            layers = layer_rows(row) if row.status in (COMPLETE, NOT_RUN) else []
            if layers:
                title = f"{row.name or NOT_RUN}: {row.group} at {_percent(row.target)} %"
                seeds = f" ({_seeds(row)})" if row.runs else ""
                lines = [_layer_line(layer, len(row.runs)) for layer in layers]
                parts += [f"**{title}**{seeds}", _markdown_table(header, lines, 2)]
    legend = "Sparsities in percent: the mean over the seeds, in brackets smallest and largest; "
    legend += "differences in percentage points. Layers not listed stay dense."
    return "\n\n".join([*parts, legend]) + "\n"


def _layer_line(layer: LayerRow, seeds: int) -> list[str]:
    difference = None
    if layer.sparsity is not None and layer.published is not None:
        difference = layer.sparsity.mean - layer.published
    size = _NONE if layer.size is None else f"{layer.size:,}"
    cells = [layer.name, layer.shape, size, _whole(layer.kept), _percents(layer.sparsity, seeds)]
    return [*cells, _percent(layer.published), _percent(difference, "+")]


# -- one run, for the console --------------------------------------------------------------

_ACCURACIES = (
    ("dense", "dense_accuracy", "before pruning"),
    ("control", "control_accuracy", "not pruned, the same extra epochs"),
    ("first test", "first_test_accuracy", "pruned, before retraining"),
    ("first epoch", "first_epoch_accuracy", "after one epoch of retraining"),
    ("final", "final_accuracy", "after the last epoch: the headline"),
    ("best epoch", "best_accuracy", "chosen on the test set"),
)


def console_row(summary: Summary) -> str:
    """What a run ends with: its layers, accuracies, files and audit, as aligned text."""
    run = summary
    title = f"{run['name']} (seed {run['seed']}): {run['network']} on {run['dataset']}"
    if run["group"] != "dense":
        title += f", {run['group']} layers, target sparsity {_percent(run['target_sparsity'])} %"
    if run["status"] != COMPLETE:
        title += f" - {run['status']}"
    lines = [title]
    if run["layers"]:
        lines += ["", *_console_layers(run)]
    lines += ["", "accuracy on the whole test set"]
    for label, key, meaning in _ACCURACIES:
        value = final_accuracy(run) if key == "final_accuracy" else run[key]
        if key == "best_accuracy" and run["best_epoch"] is not None:
            meaning = f"epoch {run['best_epoch']}, {meaning}"
        if value is not None:
            lines.append(f"  {label:<11}  {_percent(value):>6} %  {meaning}")
    if all(run[key] is None for _, key, _ in _ACCURACIES):
        lines.append("  not measured")
    for kind, export in (run["exports"] or {}).items():
        size = f"{export['bytes']:,} bytes" if export.get("bytes") is not None else "written"
        accuracy = export.get("accuracy")
        proof = "" if accuracy is None else f", accuracy {_percent(accuracy)} %"
        lines.append(f"file {kind}: {size}{proof}")
    stages = f" ({', '.join(run['audit'])})" if audit_verdict(run) == "ok" else ""
    lines.append(f"audit of the zeros: {audit_verdict(run) or 'none'}{stages}")
    return "\n".join(lines)


def _console_layers(run: Summary) -> list[str]:
    rows = [("layer", "shape", "kept", "of", "sparsity")]
    for layer in run["layers"]:
        shape = "x".join(map(str, layer["shape"]))
        sparsity = f"{_percent(layer['sparsity'])} %" if layer["pruned"] else "dense"
        rows.append((layer["name"], shape, f"{layer['kept']:,}", f"{layer['size']:,}", sparsity))
    kept, total = weights(run) or (0, 0)
    removed = _percent(1 - kept / total if total else 0.0)
    rows.append(("all", "", f"{kept:,}", f"{total:,}", f"{removed} %"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
