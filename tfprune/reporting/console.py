"""What a run ends with on the console: one summary as aligned text, its table row last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from tfprune.reporting.ledger import ledger_rows, times
from tfprune.reporting.rows import (
    Summary,
    audit_verdict,
    final_accuracy,
    final_minus_control,
    schedule_of,
    weights,
)
from tfprune.reporting.summary import COMPLETE
from tfprune.reporting.tables import NONE, percent

#: Label, key of the summary, meaning.
_ACCURACIES = (
    ("dense", "dense_accuracy", "before pruning"),
    ("control", "control_accuracy", "not pruned, the same extra epochs"),
    ("first test", "first_test_accuracy", "pruned, before retraining"),
    ("first epoch", "first_epoch_accuracy", "after one epoch of retraining"),
    ("final", "final_accuracy", "after the last epoch: the headline"),
    ("shared", "shared_accuracy", "weights shared, centroids trained: what the files hold"),
    ("best epoch", "best_accuracy", "chosen on the test set"),
)


def console_row(summary: Summary) -> str:
    """The layers, accuracies, bytes, files and audit of a run as aligned text.

    Parts that the summary lacks are left out. The last line is the run's table row, cells
    between bars in percent and a dash for what was not measured: name, group, target, group
    sparsity, dense, control, first test, first epoch, final, final - control (in percentage
    points). The line above it heads its columns.
    """
    parts = (_title, _layers, _rounds, _accuracies, _ledger, _files, _cost, _audit, _table_row)
    blocks = ("\n".join(part(summary)) for part in parts)
    return "\n\n".join(block for block in blocks if block)


def _title(run: Summary) -> list[str]:
    title = f"{run['name']} (seed {run['seed']}): {run['network']} on {run['dataset']}"
    if run["group"] != "dense":
        title += f", {run['group']} layers, target sparsity {percent(run['target_sparsity'])} %"
        title += f", {schedule_of(run)}" if schedule_of(run) != "one shot" else ""
    if run["status"] != COMPLETE:
        title += f" - {run['status']}"
    return [title]


def _layers(run: Summary) -> list[str]:
    if not run["layers"]:
        return []
    rows = [("layer", "shape", "kept", "of", "sparsity")]
    for layer in run["layers"]:
        shape = "x".join(map(str, layer["shape"]))
        sparsity = f"{percent(layer['sparsity'])} %" if layer["pruned"] else "dense"
        rows.append((layer["name"], shape, f"{layer['kept']:,}", f"{layer['size']:,}", sparsity))
    kept, total = weights(run) or (0, 0)
    removed = percent(1 - kept / total if total else 0.0)
    rows.append(("all", "", f"{kept:,}", f"{total:,}", f"{removed} %"))
    return list(_aligned(rows, texts=2))


def _rounds(run: Summary) -> list[str]:
    if not run["rounds"]:
        return []
    rows = [("round", "sparsity", "epochs", "first test", "final")]
    for item in run["rounds"]:
        first, final = (percent(item[f"{stage}_accuracy"]) for stage in ("first_test", "final"))
        sparsity = f"{percent(item['group_sparsity'])} %"
        rows.append((str(item["round"]), sparsity, str(item["epochs"]), first, final))
    return list(_aligned(rows, texts=1))


def _accuracies(run: Summary) -> list[str]:
    lines = ["accuracy on the whole test set"]
    for label, key, meaning in _ACCURACIES:
        value = final_accuracy(run) if key == "final_accuracy" else run[key]
        if key == "best_accuracy" and run["best_epoch"] is not None:
            meaning = f"epoch {run['best_epoch']}, {meaning}"
        if value is not None:
            lines.append(f"  {label:<11}  {percent(value):>6} %  {meaning}")
    return lines if len(lines) > 1 else [*lines, "  not measured"]


def _ledger(run: Summary) -> list[str]:
    if not run["ledger"]:
        return []
    rows = _aligned(ledger_rows(run["ledger"]), texts=1)
    return ["bytes by part, without entropy coding", *(f"  {line}" for line in rows)]


def _files(run: Summary) -> list[str]:
    """The exported files, beside the float32 values of all variables of the dense network."""
    if not run["exports"]:
        return []
    lines = ["files (zipped: deflate, level 6; latency: of one image on one thread)"]
    ledger = run["ledger"] or {}
    if ledger:
        dense = f"{ledger['dense_bytes']:,} bytes"
        lines.append(f"  ratios: to dense float32, all variables: {dense}")
    rows = [("file", "bytes", "ratio", "zipped bytes", "ratio", "accuracy", "latency")]
    for kind, export in run["exports"].items():
        ratios = ledger.get("files", {}).get(kind, {})
        sizes = []
        for key, ratio in (("bytes", "ratio"), ("zipped_bytes", "zipped_ratio")):
            sizes.append(NONE if export.get(key) is None else f"{export[key]:,}")
            sizes.append(times(ratios.get(ratio)))
        accuracy, latency = export.get("accuracy"), export.get("latency_ms")
        proof = NONE if accuracy is None else f"{percent(accuracy)} %"
        rows.append((kind, *sizes, proof, NONE if latency is None else f"{latency:.3f} ms"))
    return lines + [f"  {line}" for line in _aligned(rows, texts=1)]


def _cost(run: Summary) -> list[str]:
    if run["wall_seconds"] is None:
        return []
    cost = f"took {timedelta(seconds=round(run['wall_seconds']))}"
    if run["peak_memory_bytes"] is not None:
        cost += f", at most {run['peak_memory_bytes'] / 1e9:.2f} GB of memory"
    return [cost]


def _audit(run: Summary) -> list[str]:
    stages = f" ({', '.join(run['audit'])})" if audit_verdict(run) == "ok" else ""
    return [f"audit of the zeros: {audit_verdict(run) or 'none'}{stages}"]


def _table_row(run: Summary) -> list[str]:
    cells = {
        "name": run["name"],
        "group": run["group"],
        "target": percent(run["target_sparsity"]),
        "group sparsity": percent(run["group_sparsity"]),
        "dense": percent(run["dense_accuracy"]),
        "control": percent(run["control_accuracy"]),
        "first test": percent(run["first_test_accuracy"]),
        "first epoch": percent(run["first_epoch_accuracy"]),
        "final": percent(final_accuracy(run)),
        "final - control": percent(final_minus_control(run), "+"),
    }
    return list(_aligned([tuple(cells), tuple(cells.values())], texts=2, between=" | "))


def _aligned(rows: Sequence[Sequence[str]], texts: int, between: str = "  ") -> Iterator[str]:
    """A line a row, the first `texts` columns flush left and the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield between.join(
            cell.ljust(width) if index < texts else cell.rjust(width)
            for index, (cell, width) in enumerate(cells)
        )
