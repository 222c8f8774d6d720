"""How much faster a network can become by export, before anything is trained.

    python tools/export_latency.py --model=vgg16_bn --sparsity=0.5 --out=results/performance

Builds a network of the registry with random weights, removes filters and neurons (the same
fraction of each layer), shrinks it, writes dense and shrunk TFLite files of several kinds, and
times all of them in turn: one image, one thread, warm, the median of the rounds. Time in LiteRT
does not depend on what the weights are, so that this is what the trained network will take;
accuracies are those of runs. Writes a table, and with `--out` `export_<model>.md`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.atomic import write_text
from tfprune.command import exit_status_of
from tfprune.errors import UsageError
from tfprune.keras_line import choose_keras
from tfprune.machine import machine, versions
from tfprune.models import NETWORK_NAMES
from tfprune.quiet import quiet

_KINDS = ("float32", "float16", "dynamic", "int8")
_SHAPES = {"vgg16_bn": (32, 32, 3), "alexnet": (32, 32, 3)}
_MNIST = (28, 28, 1)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="vgg16_bn", choices=NETWORK_NAMES)
    parser.add_argument("--sparsity", type=float, default=0.5, help="fraction of filters removed")
    parser.add_argument("--layers", default="all", help="conv, fc or all")
    parser.add_argument("--kinds", default=",".join(_KINDS), help="of file, comma-separated")
    parser.add_argument("--rounds", type=int, default=50, help="timed runs of each file")
    parser.add_argument("--threads", type=int, default=1, help="threads of LiteRT")
    parser.add_argument("--out", type=Path, help="folder for the table")
    options = parser.parse_args()
    choose_keras(2)
    table = measured(options)
    print(table)
    if options.out:
        write_text(options.out / f"export_{options.model}.md", f"{table}\n")
    return 0


def measured(options: Any) -> str:
    """The table, as Markdown."""
    with quiet():  # TensorFlow's greetings
        from tfprune.export.form import forms_of
        from tfprune.export.interpreter import latencies_ms
        from tfprune.export.tflite import export_tflite
        from tfprune.models import build
        from tfprune.pruning.macs import macs
        from tfprune.pruning.pruner import get_masks, prune
        from tfprune.reporting.tables import markdown_table

    kinds = options.kinds.split(",")
    if "float32" not in kinds or set(kinds) - set(_KINDS):
        raise UsageError(f"--kinds takes float32 and of {', '.join(_KINDS)}; received {kinds}")
    shape = _SHAPES.get(options.model, _MNIST)
    model = build(options.model, shape, 10)
    pruned = prune(
        model,
        options.sparsity,
        layers=options.layers,
        granularity="filter",
        allocation="uniform",
    )
    forms, _ = forms_of(pruned, get_masks(pruned))
    models = {"dense": model, "shrunk": forms[-1].model}
    data = np.random.default_rng(0).standard_normal((50, *shape)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for form, each in models.items():
            for kind in kinds:
                path = Path(folder) / f"{form}_{kind}.tflite"
                quantize = None if kind == "float32" else kind
                paths[form, kind] = export_tflite(
                    each, path, quantize=quantize, representative_data=data
                )
        labels = {f"{form}/{kind}": path for (form, kind), path in paths.items()}
        times = latencies_ms(labels, data, rounds=options.rounds, threads=options.threads)
        sizes = {label: path.stat().st_size for label, path in labels.items()}
    base = times["dense/float32"]
    lines = []
    for form, kind in paths:
        label = f"{form}/{kind}"
        work = sum(dense for dense, _ in macs(models[form]).values())
        lines.append(
            [
                *(form, kind, f"{models[form].count_params():,}", f"{work:,}"),
                *(f"{sizes[label]:,}", f"{times[label]:.3f}", f"{base / times[label]:.1f}x"),
            ]
        )
    header = ["form", "file", "parameters", "multiply-accumulates", "bytes", "ms", "speed-up"]
    found, known = machine(), versions()
    threads = "one thread" if options.threads == 1 else f"{options.threads} threads"
    notes = (
        f"{options.model} on {' x '.join(map(str, shape))} images, random weights; *shrunk*: "
        f"without {100 * options.sparsity:g}% of the filters and neurons of each layer "
        f"({options.layers}). One image, {threads}, the median of {options.rounds} interleaved "
        f"rounds; {found['processor']}, ai-edge-litert {known['ai-edge-litert']}. Written by "
        f"`python tools/export_latency.py`; not to be edited."
    )
    return f"{markdown_table(header, lines, 2)}\n\n{notes}"


if __name__ == "__main__":
    sys.exit(exit_status_of(main))
