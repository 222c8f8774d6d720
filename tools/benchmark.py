"""Measures tfprune beside its peers, and writes the tables of `results/performance/`.

    python tools/benchmark.py                  # everything: about an hour on 2 quiet cores
    python tools/benchmark.py --only=start,reporting
    python tools/benchmark.py --resume         # what has not been measured yet
    python tools/benchmark.py --table          # only the table and plot, from what is there

PyTorch and TFMOT are peers: `pip install -e '.[bench]'`. Where one is missing, its lines are
left out and the table names it. Each measurement is written when it is done, as
`<measurement>.json`, so that one that is stopped keeps what it has.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarking import growth, pruning, results, start, training
from benchmarking.measurement import Found, Options
from benchmarking.record import Record, read_record, write_record
from benchmarking.rounds import ContenderError
from benchmarking.table import markdown

from tfprune.atomic import atomic_path, write_text
from tfprune.machine import machine, versions

ROOT = Path(__file__).resolve().parents[1]
MEASUREMENTS: dict[str, Callable[[Options], Found]] = {
    "start": start.measure,
    "reporting": results.reporting,
    "training_lenet5": training.lenet5,
    "training_alexnet": training.alexnet,
    "training_vgg16_bn": training.vgg16_bn,
    "training_filters": training.filters,
    "training_precision": training.precision,
    "training_convolutions": training.convolutions,
    "training_convolutions_bfloat16": training.convolutions_bfloat16,
    "pruning_alexnet": pruning.alexnet,
    "pruning_100_million": pruning.hundred_million,
    "evaluation": results.evaluation,
    "exporting": results.exporting,
    "growth": growth.measure,
}
_PEERS = ("torch", "tensorflow-model-optimization")


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    chosen = options.only.split(",") if options.only else list(MEASUREMENTS)
    unknown = [name for name in chosen if name not in MEASUREMENTS]
    if unknown:
        print(
            f"benchmark: error: --only takes {', '.join(MEASUREMENTS)}. "
            f"Received: {', '.join(unknown)}",
            file=sys.stderr,
        )
        return 2
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    failed = []
    if not options.table:
        log = out / "log.txt"
        log.unlink(missing_ok=True)
        settings = Options(options.rounds or (2 if options.quick else 5), options.quick, log)
        for name in chosen:
            if not (options.resume and _stands(out / f"{name}.json", options.quick)):
                failed += [] if run(name, settings, out) else [name]
    write_tables(out)
    if failed:
        print(f"benchmark: failed: {', '.join(failed)}; see {out / 'log.txt'}", file=sys.stderr)
    return 1 if failed else 0


def _stands(path: Path, quick: bool) -> bool:
    return path.is_file() and read_record(path).quick == quick


def run(name: str, options: Options, out: Path) -> bool:
    """Runs one measurement and writes its record; False where it failed."""
    print(f"{name} ...", flush=True)
    began = time.monotonic()
    try:
        found = MEASUREMENTS[name](options)
    except ContenderError as error:
        print(error, file=sys.stderr)
        return False
    record = Record(
        name,
        found.lines,
        found.skipped,
        found.rates,
        (time.monotonic() - began) / 60,
        options.quick,
        found.series,
        _versions(),
        machine(),
    )
    write_record(out / f"{name}.json", record)
    for line in found.lines:
        bar = {True: "held", False: "NOT HELD", None: ""}[line.held]
        print(f"  {line.what}: {line.ours.name}: {line.figure} {line.value:.4g} {bar}")
    print(f"  {record.minutes:.1f} minutes", flush=True)
    return True


def write_tables(out: Path) -> None:
    """`performance.md` and `growth.png` from the records in a folder."""
    paths = [out / f"{name}.json" for name in MEASUREMENTS]
    records = [read_record(path) for path in paths if path.is_file()]
    if not records:
        return
    write_text(out / "performance.md", markdown(records))
    series = {name: one for record in records for name, one in record.series.items()}
    if series:
        with atomic_path(out / "growth.png") as path:
            growth.plot(series, path)


def _versions() -> dict[str, str]:
    found = versions()
    for package in _PEERS:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help=f"some of: {', '.join(MEASUREMENTS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, to test the tool")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each contender (5)")
    parser.add_argument("--resume", action="store_true", help="skip what has been measured")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "performance", help="where results go"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
