"""Runs an experiment's configs that have not run yet, and writes its part of `results/`.

    python tools/reproduce.py lenet5 [--published] [--seeds=0,1,2] [--jobs=2]

Runs every `configs/<network>_*.cfg` (with `--published` those of `configs/published/`) for
each seed, `--jobs` at a time with one thread each, into `runs/`; then collects the summaries
into `results/<network>/` and writes tables and plots there. Finished runs are skipped and
interrupted ones resumed, so that it can be stopped at any time. A run that fails is named
at the end; the others go on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tfprune.flags import parse

ROOT = Path(__file__).resolve().parents[1]


def configs(network: str, published: bool) -> list[Path]:
    folder = ROOT / "configs" / ("published" if published else "")
    # The dense baseline first: the others share it.
    found = sorted(folder.glob(f"{network}_*.cfg"), key=lambda p: ("dense" not in p.name, p.name))
    return [path for path in found if not path.name.endswith("_base.cfg")]


def run(config: Path, seed: int, threads: int, flags: list[str]) -> str | None:
    """Runs one config; gives None, or its name where it failed."""
    name = f"{config.stem} seed {seed}"
    log = ROOT / "runs" / "logs" / f"{config.parent.name}-{config.stem}-seed{seed}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tfprune.main", f"--flagfile={config}", f"--seed={seed}"]
    with log.open("w") as output:
        status = subprocess.call(
            [*command, f"--threads={threads}", "--noprogress", *flags],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    lines = log.read_text().strip().splitlines() or [""]
    print(f"{name}: {'done' if status == 0 else f'exit status {status}'}: {lines[-1]}", flush=True)
    return None if status == 0 else name


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("network", help="as the configs begin: lenet5, ...")
    parser.add_argument("--published", action="store_true", help="run configs/published/")
    parser.add_argument("--seeds", default="0,1,2", help="numbers, comma-separated")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--only", default="", help="config names, comma-separated; default: all")
    parser.add_argument("--report-only", action="store_true", help="run nothing")
    options, flags = parser.parse_known_args()
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    failed: list[str | None] = []
    if not options.report_only:
        chosen = configs(options.network, options.published)
        if options.only:
            chosen = [path for path in chosen if path.stem in options.only.split(",")]
        with ThreadPoolExecutor(options.jobs) as pool:
            waiting = [
                pool.submit(run, config, int(seed), threads, flags)
                for config in chosen
                for seed in options.seeds.split(",")
            ]
            failed = [job.result() for job in waiting if job.result()]
    model = parse([f"--flagfile={configs(options.network, False)[0]}"]).model
    out = ROOT / "results" / model
    names = [path.stem for p in (False, True) for path in configs(options.network, p)]
    folders = [
        folder
        for folder in sorted((ROOT / "runs").glob("*-seed*"))
        if folder.name.rpartition("-seed")[0].removeprefix("published_") in names
        and (folder / "summary.json").is_file()
    ]
    report = [sys.executable, "-m", "tfprune.report", *map(str, folders)]
    status = subprocess.call([*report, "--collect", f"--out={out}"], cwd=ROOT)
    subprocess.call([sys.executable, "tools/update_readme.py"], cwd=ROOT)
    if failed:
        print(f"not finished: {', '.join(map(str, failed))}", file=sys.stderr)
    return 1 if failed or status else 0


if __name__ == "__main__":
    sys.exit(main())
