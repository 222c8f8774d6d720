"""What each fault of a user is answered with: writes `docs/faults.md` by trying them all.

    python tools/faults.py [--check] [--random=N]

Every command of the table is run, as written, in a folder with the damaged files that it
names. With `--check` nothing is written, and the exit status is 1 if the table is not what
the commands say now, or if one of them ends in a traceback, leaves something half-written,
or has another exit status than 1 or 2. `--random` tries N random faults too: `random_faults.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfprune.pruning.masks import save_masks

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "faults.md"
#: What the run in `workspace` is made with.
TINY = "--flagfile=tiny.cfg --noprogress"
#: Fault -> command, by what is wrong.
FAULTS = {
    "Flags": {
        "unknown flag": "main --sparsty=0.5",
        "no number": "main --sparsity=half",
        "number out of range": "main --sparsity=1.5",
        "NaN": "main --learning_rate=nan",
        "no whole number": "main --epochs=2.5",
        "none of the choices": "main --optimizer=lion",
        "unknown network": "main --model=lenet6",
        "list with a word in it": "main --lr_boundaries=5,x",
        "list that does not ascend": "main --lr_boundaries=5,2",
        "flags that exclude each other": "main --lr_boundaries=5 --lr_decay_epochs=2",
        "flag that needs another": "main --allocation=explicit",
        "flag that belongs to another": "main --stddev_quality=1",
        "sparsity of a layer out of range": "main --allocation=explicit --layer_sparsity=fc1=2",
        "option of another network": "main --conv1_stride=2",
        "word without dashes": "main configs/quickstart.cfg",
        "unknown layer": "main --group=conv7",
        "unknown layer to exclude": "main --exclude_layers=fc9",
        "no layer left": "main --exclude_layers=fc1,fc2",
        "sparsity of an unknown layer": "main --allocation=explicit --layer_sparsity=fc9=0.5",
        "batch larger than the data": "main --batch_size=5000",
        "images too small for the network": "main --image_size=8",
        "other flags for a run that stands": f"main {TINY} --retrain_epochs=2",
        "unknown option of a command": "report runs --out=report --fast",
        "missing argument": "report runs",
        "seeds that are no numbers": "sweep tiny.cfg --seeds=0,x",
        "two runs in one folder": "sweep tiny.cfg --seeds=0,1 -- --run_dir=x",
        "unknown coder": "compress runs/tiny-seed0 --coder=zip",
        "bits that are no numbers": "compress runs/tiny-seed0 --bits=conv",
        "unknown format": "decompress runs/tiny-seed0/model.tfprune --to=pdf",
    },
    "Files": {
        "missing flagfile": "main --flagfile=none.cfg",
        "folder for a flagfile": "main --flagfile=runs",
        "flagfile that is no text": "main --flagfile=binary.cfg",
        "line that is no flag": "main --flagfile=prose.cfg",
        "flagfile that includes itself": "main --flagfile=circle.cfg",
        "no flagfile anywhere": "sweep none.cfg",
        "missing model": "main --model=none.keras",
        "no model": "main --model=prose.keras",
        "truncated model": "main --model=truncated.keras",
        "file in the place of the run folder": "main --run_dir=prose.cfg",
        "file in the place of the runs": "main --runs_dir=prose.cfg",
        "damaged record of a stage": f"main {TINY} --runs_dir=bad_record",
        "altered record of a stage": f"main {TINY} --runs_dir=bad_figure",
        "truncated weights of a stage": f"main {TINY} --runs_dir=bad_weights",
        "missing weights of a stage": f"main {TINY} --runs_dir=no_weights",
        "weights of another model": f"main {TINY} --runs_dir=other_weights",
        "damaged masks": f"main {TINY} --runs_dir=bad_masks",
        "missing masks": f"main {TINY} --runs_dir=no_masks",
        "masks of another run": f"main {TINY} --runs_dir=other_masks",
        "missing file to report": "report none --out=report",
        "nothing to report": "report empty --out=report",
        "truncated summary": "report truncated.json --out=report",
        "no summary": "report list.json --out=report",
        "summary of a newer version": "report newer.json --out=report",
        "two summaries of one run": "report runs changed.json --out=report",
        "file in the place of a folder": "report runs --out=prose.cfg",
        "missing file to verify": "verify none.keras",
        "kind of file that is not known": "verify prose.cfg",
        "truncated file to verify": "verify truncated.tfprune --masks=runs/tiny-seed0/masks.npz",
        "masks that are none": "verify runs/tiny-seed0/model.tfprune --masks=truncated.npz",
        "no model to compress": "compress empty",
        "no coded file": "decompress prose.keras --to=keras",
        "truncated coded file": "decompress truncated.tfprune --to=keras",
    },
    "Data sets": {
        "unknown data set": "main --dataset=mnits",
        "no name of a data set": "main --dataset=mnist:latest",
        "not prepared, and no network": "main --dataset=mnist --data_dir=empty",
    },
}
_INTRODUCTION = """# Faults and what answers them

Generated by `python tools/faults.py`, which tries each of them; not to be edited. Every fault
is one line on standard error, `tfprune: error: ` and the message, and nothing half-written
stays. Exit status 2: the command has to be changed. 1: something outside of it, a file, the
disk, the network. The commands are `python -m tfprune.COMMAND`; `tiny.cfg` is a finished
run, of which other folders hold damaged copies. An exception that is not listed here keeps its
traceback: it is a defect.
"""


@dataclass
class Answer:
    """What a command did: its exit status (None: a traceback), and its standard error."""

    status: int | None
    error: str

    @property
    def clear(self) -> bool:
        """Whether it is an error as a user should see one."""
        one_line = self.error.startswith("tfprune: error: ") and self.error.count("\n") == 1
        return self.status in (1, 2) and one_line and "Traceback" not in self.error

    @property
    def message(self) -> str:
        """Its text."""
        return self.error.strip().removeprefix("tfprune: error: ")


def answer(command: str) -> Answer:
    """Runs a command in this process, in the working directory."""
    name, *arguments = shlex.split(command)
    error = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
        try:
            status = importlib.import_module(f"tfprune.{name}").main(arguments)
        except BaseException:
            return Answer(None, error.getvalue() + traceback.format_exc())
    return Answer(status, error.getvalue())


def half_written(folder: Path) -> list[str]:
    """Temporary files that are left in a folder."""
    return [str(path) for path in folder.rglob(f".{8 * '[0-9a-f]'}-*")]


def workspace(folder: Path) -> None:
    """Fills a folder with a finished run and changes to it; nothing there is damaged yet."""
    os.chdir(folder)
    lines = ("--name=tiny", "--model=lenet300_100", "--epochs=1", "--retrain_epochs=1", "--code")
    (folder / "tiny.cfg").write_text("\n".join(lines) + "\n")
    made = answer(f"main {TINY}")
    if made.status != 0:
        raise SystemExit(f"the run that the faults are made from failed: {made.error}")


def damage(folder: Path) -> None:
    """Adds the damaged files that the table names."""
    from tfprune.training.checkpoint import save_arrays

    run = folder / "runs" / "tiny-seed0"
    (folder / "empty").mkdir()
    (folder / "prose.cfg").write_text("epochs 3\n")
    (folder / "prose.keras").write_text("a model\n")
    (folder / "binary.cfg").write_bytes(b"\xff\xfe\x00")
    (folder / "circle.cfg").write_text("--flagfile=circle.cfg\n")
    (folder / "list.json").write_text("[]")
    summary = (run / "summary.json").read_text()
    (folder / "truncated.json").write_text(summary[:20])
    (folder / "newer.json").write_text(summary.replace('"schema": 1', '"schema": 2'))
    (folder / "changed.json").write_text(summary.replace('"batch_size": 128', '"batch_size": 64'))
    for source, name in (
        (run / "pruned.keras", "truncated.keras"),
        (run / "model.tfprune", "truncated.tfprune"),
        (run / "masks.npz", "truncated.npz"),
    ):
        (folder / name).write_bytes(source.read_bytes()[:-300])
    for name in (
        *("bad_record", "bad_figure", "bad_weights", "no_weights", "other_weights"),
        *("bad_masks", "no_masks", "other_masks"),
    ):
        shutil.copytree(folder / "runs", folder / name)
    stages = {
        name: folder / name / "tiny-seed0" / "stages"
        for name in ("bad_record", "bad_figure", "bad_weights", "no_weights", "other_weights")
    }
    record = stages["bad_record"] / "prune.json"
    record.write_bytes(record.read_bytes()[:-30])
    record = stages["bad_figure"] / "retrain.json"
    record.write_text(record.read_text().replace('"epoch": 1', '"epoch": 7'))
    weights = stages["bad_weights"] / "retrain.npz"
    weights.write_bytes(weights.read_bytes()[:-300])
    (stages["no_weights"] / "retrain.npz").unlink()
    save_arrays(stages["other_weights"] / "retrain.npz", [np.zeros(3)], {})
    shutil.copy(folder / "truncated.npz", folder / "bad_masks" / "tiny-seed0" / "masks.npz")
    (folder / "no_masks" / "tiny-seed0" / "masks.npz").unlink()
    masks = {"fc1/kernel": np.ones((3, 3), bool)}
    save_masks(folder / "other_masks" / "tiny-seed0" / "masks.npz", masks)


def table(folder: Path) -> tuple[str, list[str]]:
    """The table, and what of it is no clear error."""
    lines, wrong = [_INTRODUCTION], []
    files = {path for path in folder.rglob("*") if path.is_file()}
    for kind, faults in FAULTS.items():
        lines += [
            f"## {kind}\n",
            "| fault | command | exit status | message |",
            "|---|---|---|---|",
        ]
        for fault, command in faults.items():
            found = answer(command)
            if not found.clear:
                wrong.append(f"{fault}: {command}: exit status {found.status}: {found.error}")
            text = found.message.replace(str(folder.resolve()) + "/", "").replace("|", "\\|")
            text = re.sub(r"\(HTTPS?Conn.*\)", "(what the network says)", text)
            lines.append(f"| {fault} | `{command}` | {found.status} | {text} |")
            left = {path for path in folder.rglob("*") if path.is_file()} - files
            unwanted = [str(path) for path in left if not path.name.startswith((".lock", "log."))]
            if unwanted or half_written(folder):
                wrong.append(f"{fault}: {command}: leaves {unwanted + half_written(folder)}")
            files |= left
        lines.append("")
    return "\n".join(lines), wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="random faults to try")
    options = parser.parse_args()
    # No network, wherever this runs: a proxy that refuses.
    os.environ |= dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # as the command chooses
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        workspace(folder)
        damage(folder)
        text, wrong = table(folder)
        if options.random:
            from random_faults import try_random

            clear, unclear = try_random(options.random, seed=0)
            wrong += unclear
            print(f"{clear.total()} of {options.random} random faults have a clear error")
        os.chdir(ROOT)
    for fault in wrong:
        print(fault)
    print(f"{sum(map(len, FAULTS.values()))} faults tried, {len(wrong)} without a clear error")
    if options.check:
        same = TABLE.is_file() and TABLE.read_text(encoding="utf-8") == text
        if not same:
            print(f"{TABLE.name} is not up to date: run python tools/faults.py")
        return 0 if same and not wrong else 1
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(text, encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
