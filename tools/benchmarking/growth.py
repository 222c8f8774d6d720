"""How the time of what is ours grows with weights, layers and epochs."""

from __future__ import annotations

import gc
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarking.measurement import Found, Options
from benchmarking.record import Line, Side
from benchmarking.rounds import Contender, Timings, Turn, alternate

#: Largest growth of the time for each growth of the size: linear, and a tenth for noise.
_LINEAR = 1.1

Work = Callable[[], Any]


def _rounds(turn: Turn, sizes: Sequence[int], works_of: Callable[[int], dict[str, Work]]) -> None:
    """Times each work at each size; notes seconds by "work@size"."""
    works = {size: works_of(size) for size in sizes}
    while True:
        turn(
            **{
                f"{name}@{size}": _seconds(work)
                for size, named in works.items()
                for name, work in named.items()
            }
        )


def _seconds(work: Work) -> float:
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def weights(turn: Turn, sizes: Sequence[int]) -> None:
    """Models of that many million weights in four dense layers."""
    import tfprune
    from benchmarking.pruning import a_model
    from tfprune.pruning.masks import save_masks
    from tfprune.pruning.pruner import get_masks

    def works_of(size: int) -> dict[str, Work]:
        width = round((size * 1e6 / 4) ** 0.5)
        model = tfprune.prune(a_model(widths=[width] * 4, input_size=width), 0.9)
        file = Path(scratch) / f"{size}.npz"
        return {
            "prune": lambda: tfprune.prune(model, 0.95),
            "strip": lambda: tfprune.strip(model),
            "audit": lambda: tfprune.audit(model),
            "masks to file": lambda: save_masks(file, get_masks(model)),
        }

    with tempfile.TemporaryDirectory() as scratch:
        _rounds(turn, sizes, works_of)


def layers(turn: Turn, sizes: Sequence[int]) -> None:
    """Models of that many dense layers of 8 units.

    Functional ones: tf_keras makes a sequential model anew for each layer that it is given, which
    alone takes a time that grows by the square of their number.
    """
    import tfprune
    from tfprune.backend import keras

    sys.setrecursionlimit(20 * max(sizes))  # Keras walks along the layers by recursion

    def works_of(size: int) -> dict[str, Work]:
        inputs = outputs = keras.Input((8,))
        for number in range(size):
            outputs = keras.layers.Dense(8, name=f"fc{number}")(outputs)
        plain = keras.Model(inputs, outputs)
        model = tfprune.prune(plain, 0.5)
        return {
            "prune": lambda: tfprune.prune(plain, 0.5),
            "prune in place": lambda: tfprune.prune(model, 0.5, in_place=True),
            "strip": lambda: tfprune.strip(model),
            "audit": lambda: tfprune.audit(model),
            "shrink": lambda: tfprune.shrink(model),
        }

    _rounds(turn, sizes, works_of)


def epochs(turn: Turn, sizes: Sequence[int]) -> None:
    """Ten runs with histories of that many epochs."""
    from benchmarking.results import summaries
    from tfprune.report import main
    from tfprune.reporting.summary import read_summary, write_summary
    from tfprune.training.checkpoint import CheckpointFolder, Progress

    def works_of(size: int) -> dict[str, Work]:
        folder = Path(scratch) / str(size)
        summaries(folder / "runs", 10, size)
        one = read_summary(next((folder / "runs").glob("*.json")))
        history = one["history"]
        progress = Progress(epoch=size, history=history)
        checkpoints = CheckpointFolder(folder, "benchmark")
        return {
            "report, 10 runs": lambda: main([str(folder / "runs"), f"--out={folder / 'out'}"]),
            "summary to file": lambda: write_summary(folder / "summary.json", one),
            "checkpoint": lambda: checkpoints.save([np.zeros(3)], progress, "mark"),
        }

    with tempfile.TemporaryDirectory() as scratch:
        _rounds(turn, sizes, works_of)


def measure(options: Options) -> Found:
    """All three; a line for each work, with the sizes between which it grew most."""
    by_kind = {
        "million weights": (weights, [1, 2] if options.quick else [1, 4, 16, 64]),
        "layers": (layers, [5, 10] if options.quick else [10, 100, 1000]),
        "epochs": (epochs, [10, 20] if options.quick else [10, 100, 1000]),
    }
    rounds = min(3, options.rounds)  # the thousand layers take a minute
    timings = alternate(
        [
            Contender(kind, f"growth:{function.__name__}", {"sizes": sizes})
            for kind, (function, sizes) in by_kind.items()
        ],
        rounds,
        log=options.log,
    )
    series: dict[str, dict[str, Any]] = {}
    for kind, (_, sizes) in by_kind.items():
        for work in _works(timings[kind]):
            seconds = [timings[kind].note(f"{work}@{size}") for size in sizes]
            series[f"{work} ({kind})"] = {"unit": kind, "sizes": sizes, "seconds": seconds}
    return Found([_line(name, one, rounds) for name, one in series.items()], series=series)


def _works(timings: Timings) -> list[str]:
    return list(dict.fromkeys(key.partition("@")[0] for key in timings.notes[0]))


def steepest(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Largest (t' / t) / (n' / n) between neighbouring sizes: 1 is linear, below is better."""
    pairs = list(zip(sizes, seconds, strict=True))
    return max(
        (later / earlier) / (large / small)
        for (small, earlier), (large, later) in itertools.pairwise(pairs)
    )


def _line(name: str, one: dict[str, Any], rounds: int) -> Line:
    sizes, seconds = one["sizes"], one["seconds"]
    times = ", ".join(f"{t:.3g}" for t in seconds)
    return Line(
        f"growth: {name}",
        "growth",
        steepest(sizes, seconds),
        rounds,
        Side("tfprune", seconds[-1]),
        at_most=_LINEAR,
        note=f"{times} s at {', '.join(map(str, sizes))}",
    )


def plot(series: dict[str, dict[str, Any]], path: Path) -> None:
    """Seconds against size, one panel a unit, both axes logarithmic, with a linear guide."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    units = list(dict.fromkeys(one["unit"] for one in series.values()))
    figure, panels = pyplot.subplots(
        1, len(units), figsize=(4 * len(units), 3.6), squeeze=False, layout="constrained"
    )
    for panel, unit in zip(panels[0], units, strict=True):
        members = {name: one for name, one in series.items() if one["unit"] == unit}
        for name, one in members.items():
            label = name.partition(" (")[0]
            panel.loglog(one["sizes"], one["seconds"], "o-", label=label)
        sizes = next(iter(members.values()))["sizes"]
        start = min(one["seconds"][0] for one in members.values())
        panel.loglog(
            sizes, [start * n / sizes[0] for n in sizes], ":", color="grey", label="linear"
        )
        panel.set_xlabel(unit)
        panel.legend(fontsize=7)
    panels[0][0].set_ylabel("seconds")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
