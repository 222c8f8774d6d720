"""Runs an experiment's configs that have not run yet, and writes its part of `results/`.

    python tools/reproduce.py lenet5 [--published] [--seeds=0,1,2] [--jobs=2] [-- flags]

A sweep (`python -m tfprune.sweep`) of every `configs/<network>_*.cfg`, with `--published` of
those in `configs/published/`, with `--configs=DIR_OR_GLOB` of others, into `runs/`. Its
summaries, and sensitivity scans, are collected in `results/<network>/`, or `--out`, beside those
that lie there; tables, plots and the documents' parts are written from all of them. Like every
sweep it can be stopped at any time, and the same command goes on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tfprune import sweep
from tfprune.command import exit_status_of
from tfprune.errors import UsageError
from tfprune.flags import parse
from tfprune.job import find_configs

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    arguments = [*sys.argv[1:], "--"]
    end = arguments.index("--")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", help="as the configs begin: lenet5, ...")
    parser.add_argument("--published", action="store_true", help="run configs/published/")
    parser.add_argument("--configs", help="run these instead: a folder, or a pattern")
    parser.add_argument("--seeds", default="0,1,2", help="numbers, comma-separated")
    parser.add_argument("--jobs", default="2", help="runs at a time")
    parser.add_argument("--only", default="", help="config names, comma-separated; default: all")
    parser.add_argument("--out", help="default: results/<network>")
    parser.add_argument("--report-only", action="store_true", help="run nothing")
    options = parser.parse_args(arguments[:end])
    folder = "configs/published" if options.published else "configs"
    pattern = options.configs or str(ROOT / folder / f"{options.network}_*.cfg")
    configs = [path.resolve() for path in find_configs([pattern])]
    if options.only:
        configs = [path for path in configs if path.stem in options.only.split(",")]
    if not configs:
        raise UsageError(f"no config is called {options.only!r} in {pattern}")
    seeds = options.seeds.split(",")
    given = Path(options.out).resolve() if options.out else None  # as the configs are
    os.chdir(ROOT)  # runs/ and results/ are here, wherever this was started
    out = given or Path("results", parse([f"--flagfile={configs[0]}"]).model)
    command = [*map(str, configs), f"--out={out}", "--collect", f"--seeds={options.seeds}"]
    command += [f"--jobs={options.jobs}", *(["--report-only"] if options.report_only else [])]
    status = sweep.main([*command, "--", *arguments[end + 1 : -1]])
    names = [f"{parse([f'--flagfile={p}']).name}-seed{k}" for p in configs for k in seeds]
    for scan in (path for name in names for path in Path("runs", name).glob("sensitivity.*")):
        shutil.copyfile(scan, Path(out, f"{scan.parent.name}.{scan.name}"))
    if status in (0, 1):  # 1: some failed, the others are reported
        status |= subprocess.call([sys.executable, "tools/update_docs.py"])
    return status


if __name__ == "__main__":
    sys.exit(exit_status_of(main))
