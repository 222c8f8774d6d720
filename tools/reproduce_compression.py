"""Prunes, shares, codes: runs `configs/compression/` and writes `results/compression/`.

    python tools/reproduce_compression.py [--only=lenet5_caffe_context] [--seeds=0,1,2] [-- flags]

A sweep of the configs that have not run yet, into `runs/`. The coded file of the first seed goes
to `results/compression/<network>-<mode>.tfprune`, the figures of all seeds into the `.json` beside
it: every file is read back here, and what was read is measured on the whole test set. The table
`compression.md` and the README's part are written from all records that lie there; with
`--report-only` that is all that is done, and with `--recode` before it the files of one seed are
written anew by the present coder, to the same model bit by bit, without their runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tfprune import sweep
from tfprune.atomic import write_text
from tfprune.command import exit_status_of
from tfprune.config import Config
from tfprune.errors import TfpruneError, UsageError
from tfprune.flag_field import text_of
from tfprune.flags import parse
from tfprune.job import find_configs
from tfprune.keras_line import choose_keras
from tfprune.reporting.compression import compression_table, read_records
from tfprune.reporting.summary import COMPLETE, read_summary
from tfprune.run_dir import RunDir

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "results" / "compression"


def main() -> int:
    arguments = [*sys.argv[1:], "--"]
    end = arguments.index("--")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="config names, comma-separated; default: all")
    parser.add_argument("--seeds", default="0,1,2", help="numbers, comma-separated")
    parser.add_argument("--jobs", default="2", help="runs at a time")
    parser.add_argument("--recode", action="store_true", help="code the files anew; run nothing")
    parser.add_argument("--report-only", action="store_true", help="run and collect nothing")
    options = parser.parse_args(arguments[:end])
    configs = find_configs([str(ROOT / "configs" / "compression")])
    if options.only:
        configs = [path for path in configs if path.stem in options.only.split(",")]
    if not configs:
        raise UsageError(f"no config of configs/compression is called {options.only!r}")
    os.chdir(ROOT)  # runs/ and results/ are here, wherever this was started
    status = 0
    if options.recode:
        choose_keras(2)
        for path in configs:
            recode(path)
    elif not options.report_only:
        flags = arguments[end + 1 : -1]
        command = [*map(str, configs), f"--seeds={options.seeds}", f"--jobs={options.jobs}"]
        status = sweep.main([*command, "--", *flags])
        if status:
            return status
        choose_keras(2)  # that of the experiments
        for path in configs:
            collect(path, [int(seed) for seed in options.seeds.split(",")], flags)
    write_text(OUT / "compression.md", compression_table(read_records(OUT)))
    return subprocess.call([sys.executable, "tools/update_docs.py"])


def recode(path: Path) -> None:
    """Codes the file of a config of one seed anew, and takes its sizes into the record.

    Raises:
        TfpruneError: another model came out of it.
    """
    from tfprune.compression.artifact import load_compressed, save_compressed
    from tfprune.compression.container import read

    network = parse([f"--flagfile={path}"]).network
    record_path = OUT / f"{network}-{path.stem.removeprefix(f'{network}_')}.json"
    record = json.loads(record_path.read_text())
    if len(record["seeds"]) > 1:
        return
    file = record_path.with_suffix(".tfprune")
    with tempfile.TemporaryDirectory() as folder:
        anew = Path(folder) / file.name
        coder, other_bits = record["coder"], record["other_bits"]
        report = save_compressed(load_compressed(file), anew, coder=coder, other_bits=other_bits)
        before, after = read(file)[0].arrays, read(anew)[0].arrays
        if any(before[name].tobytes() != after[name].tobytes() for name in before):
            raise TfpruneError(f"{str(file)!r}, coded anew, is another model")
        shutil.copyfile(anew, file)
    sizes = {"bytes": report.file_bytes, "stages": report.stages}
    record = {**record, **sizes, "seeds": [{**record["seeds"][0], **sizes}]}
    write_text(record_path, json.dumps(record, indent=1) + "\n")


def collect(path: Path, seeds: list[int], flags: list[str]) -> None:
    """Measures the coded files of a config's runs; keeps the first and a record of all."""
    configs = [parse([f"--flagfile={path}", f"--seed={seed}", *flags]) for seed in seeds]
    figures = [measured(config) for config in configs]
    network = configs[0].network
    mode = path.stem.removeprefix(f"{network}_")
    record = {
        "network": network,
        "mode": mode,
        **figures[0],
        "bits": text_of(configs[0].share_bits) or None,
        "coder": configs[0].coder,
        "other_bits": configs[0].other_bits,
        "dataset": configs[0].dataset,
        "seeds": figures,
    }
    write_text(OUT / f"{network}-{mode}.json", json.dumps(record, indent=1) + "\n")
    shutil.copyfile(RunDir(configs[0].run_path).coded, OUT / f"{network}-{mode}.tfprune")


def measured(config: Config) -> dict[str, Any]:
    """The figures of one run; the accuracy of its coded file is measured anew.

    Raises:
        TfpruneError: the run is not complete, or its file does not give what the run said.
    """
    from tfprune.compression.artifact import load_compressed
    from tfprune.setting import Setting

    folder = RunDir(config.run_path)
    summary = read_summary(folder.summary)
    if summary["status"] != COMPLETE or config.validation_fraction:
        raise TfpruneError(f"{str(folder.path)!r} holds no complete run on the whole training set")
    said = summary["exports"]["tfprune"]
    accuracy = Setting(config).evaluator(load_compressed(folder.coded))()["test_accuracy"]
    if accuracy != said["accuracy"]:
        raise TfpruneError(
            f"{str(folder.coded)!r} has {accuracy} of the test set right; its run said "
            f"{said['accuracy']}"
        )
    return {
        "seed": config.seed,
        "dense_bytes": said["stages"]["dense"],
        "bytes": folder.coded.stat().st_size,
        "stages": said["stages"],
        "sparsity": summary["model_sparsity"],
        "control_accuracy": summary["control_accuracy"],
        "pruned_accuracy": summary["final_accuracy"],
        "decoded_accuracy": accuracy,
    }


if __name__ == "__main__":
    sys.exit(exit_status_of(main))
