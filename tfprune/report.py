"""`python -m tfprune.report`: tables and plots of all runs found in folders.

Reads `summary.json` of run folders and the copies `<name>-seed<k>.json` of results folders,
and writes `results.md`, its essence `headline.md`, `results.csv`, `layers.md` and plots for each
network; where dense
baselines were trained, `learning.md` and `learning.png`, too, where runs have a ledger, `gains.md`,
`exports.md` and `bytes.png`, and where there are several schedules, `schedules.md` and
`schedules.png`. The same summaries give the same bytes of Markdown and CSV,
in whatever order they are found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tfprune.atomic import atomic_path
from tfprune.command import ArgumentParser, exit_status_of
from tfprune.errors import TfpruneError, UsageError
from tfprune.reporting import plots
from tfprune.reporting.bytes_plot import bytes_plot
from tfprune.reporting.exports import exports_markdown
from tfprune.reporting.gains import gains_markdown
from tfprune.reporting.learning import learning_markdown, learning_plot
from tfprune.reporting.rows import ResultRow, result_rows, sections
from tfprune.reporting.schedules import schedules_markdown, schedules_plot
from tfprune.reporting.summary import read_summary, write_summary
from tfprune.reporting.tables import (
    headline_markdown,
    layers_markdown,
    results_csv,
    results_markdown,
)

_COPY = re.compile(r".+-seed\d+\.json")

_PLOTS = {
    "accuracy.png": plots.accuracy_plot,
    "layers.png": plots.layers_plot,
    "retraining.png": plots.retraining_plot,
    "learning.png": learning_plot,
    "bytes.png": bytes_plot,
}


def find_summaries(paths: Iterable[str | Path]) -> list[Path]:
    """The summaries in `paths`, sorted.

    A file stands for itself. In a folder and all below it, files named `summary.json` and
    `<name>-seed<k>.json` are summaries.

    Raises:
        UsageError: a path that does not exist.
        TfpruneError: no summary anywhere.
    """
    places = [Path(path) for path in paths]
    found: set[Path] = set()
    for path in places:
        if not path.exists():
            raise UsageError(f"there is no file or folder {str(path)!r}")
        if path.is_dir():
            found |= {
                file
                for file in path.rglob("*.json")
                if file.name == "summary.json" or _COPY.fullmatch(file.name)
            }
        else:
            found.add(path)
    if not found:
        looked = ", ".join(repr(str(path)) for path in places)
        raise TfpruneError(f"no summary.json and no <name>-seed<k>.json; received {looked}")
    return sorted(found)


def read_runs(files: Iterable[Path]) -> list[dict[str, Any]]:
    """The summaries in `files`; copies of one run count once.

    Raises:
        TfpruneError: a file is no summary, or two files say different things of one run.
    """
    runs: dict[tuple, tuple[Path, dict[str, Any]]] = {}
    for file in files:
        run = read_summary(file)
        place = ("network", "dataset", "group", "target_sparsity", "name", "seed")
        first, same = runs.setdefault(tuple(run[key] for key in place), (file, run))
        if same != run:
            raise TfpruneError(
                f"two different summaries of {run['name']!r}, seed {run['seed']}; "
                f"received {str(first)!r} and {str(file)!r}"
            )
    return [run for _, run in runs.values()]


def write_report(rows: Sequence[ResultRow], out: Path, *, with_plots: bool) -> list[Path]:
    """Writes the tables and, if asked for, the plots into `out`; returns their paths.

    Raises:
        TfpruneError: a file that cannot be written.
    """
    contents = {
        "results.md": results_markdown(rows).encode(),
        "headline.md": headline_markdown(rows).encode(),
        "results.csv": results_csv(rows).encode(),
        "layers.md": layers_markdown(rows).encode(),
    }
    optional = {
        "learning.md": learning_markdown,
        "exports.md": exports_markdown,
        "gains.md": gains_markdown,
        "schedules.md": schedules_markdown,
    }
    for name, markdown in optional.items():
        if (text := markdown(rows)) is not None:
            contents[name] = text.encode()
    if with_plots:
        contents |= _draw(rows)
    for name, content in contents.items():
        with atomic_path(out / name) as temporary:
            temporary.write_bytes(content)
    return [out / name for name in contents]


def collect(runs: Iterable[dict[str, Any]], out: Path) -> list[Path]:
    """Copies each finished run's summary to `out/<name>-seed<k>.json`; returns the copies' paths.

    One that still runs, or was stopped, is no evidence yet.

    Raises:
        TfpruneError: two runs with one name, a name that is no file name, or a file that
            cannot be written.
    """
    copies: dict[Path, dict[str, Any]] = {}
    for run in (run for run in runs if run["status"] == "complete"):
        file_name = f"{run['name']}-seed{run['seed']}.json"
        if Path(file_name).name != file_name:
            raise TfpruneError(
                f"--collect: a run's name must be a file name; received {file_name!r}"
            )
        if out / file_name in copies:
            raise TfpruneError(f"--collect: two different runs would both be {file_name!r}")
        copies[out / file_name] = run
    for path, run in copies.items():
        write_summary(path, run)
    return list(copies)


def _draw(rows: Sequence[ResultRow]) -> dict[str, bytes]:
    by_section = sections(rows)
    one_each = len({network for network, _ in by_section}) == len(by_section)
    result: dict[str, bytes] = {}
    for (network, dataset), members in by_section.items():
        prefix = ""
        if len(by_section) > 1:
            prefix = f"{network}-" if one_each else f"{network}-{dataset}-"
        drawn = {prefix + name: plot(members) for name, plot in _PLOTS.items()}
        result |= {name: content for name, content in drawn.items() if content}
    if (schedules := schedules_plot(rows)) is not None:
        result["schedules.png"] = schedules
    return result


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m tfprune.report",
        description="Writes results.md, results.csv, layers.md and plots of all runs found.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "paths",
        metavar="DIR_OR_FILE",
        nargs="+",
        help="folders with run folders or <name>-seed<k>.json files below, or summaries",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write to")
    parser.add_argument("--no-plots", action="store_true", help="write the tables only")
    parser.add_argument(
        "--collect", action="store_true", help="copy the summaries to DIR/<name>-seed<k>.json"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit status (0, 1 at run time, 2 for usage)."""
    return exit_status_of(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    out = Path(options.out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out must be a folder; received the file {options.out!r}")
    runs = read_runs(find_summaries(options.paths))
    rows = result_rows(runs)  # raises before anything is written
    written = collect(runs, out) if options.collect else []
    written += write_report(rows, out, with_plots=not options.no_plots)
    plural = "" if len(runs) == 1 else "s"
    print("\n  ".join([f"{len(runs)} run{plural}; wrote", *map(str, written)]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
