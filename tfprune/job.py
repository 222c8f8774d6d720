"""One run of a sweep, and which runs a sweep has."""

from __future__ import annotations

import glob
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfprune.config import Config
from tfprune.errors import TfpruneError, UsageError
from tfprune.flags import parse
from tfprune.reporting.summary import COMPLETE, read_summary
from tfprune.run_dir import RunDir

#: What a run can add later, as it can kinds of TFLite file; a run that has it stands for one that
#: does not ask for it.
_ADDITIONS = ("control", "export", "code")


@dataclass
class Job:
    """One run of a sweep.

    Attributes:
        flagfile: the config.
        config: what it says, with the seed and the sweep's flags.
        arguments: those of `tfprune.main`.
        place: what the console calls it, "[ 3/21] lenet5_conv50 seed 0".
        process: its process, while it runs.
        started: when that began.
    """

    flagfile: Path
    config: Config
    arguments: list[str]
    place: str = ""
    process: subprocess.Popen | None = None
    started: float = 0.0

    @property
    def folder(self) -> RunDir:
        """Its run folder."""
        return RunDir(self.config.run_path)

    @property
    def log(self) -> Path:
        """What it would have shown on the console."""
        return Path(self.config.runs_dir) / "logs" / f"{self.config.run_path.name}.txt"

    @property
    def baseline(self) -> str:
        """The same for all runs that share a dense baseline."""
        return json.dumps(self.config.shaping("data", "dense"), sort_keys=True)

    def stands(self) -> bool:
        """Whether it has run to its end, with these flags and everything asked for."""
        try:
            summary = read_summary(self.folder.summary)
            held = parse([f"--flagfile={self.folder.flags}"])
        except TfpruneError:
            return False
        asked = self.config
        stages = ["data", "dense", "prune", "retrain", "share"]
        stages += ["code"] if asked.code else []
        stages += ["qat"] if "qat" in asked.quantize else []
        return (
            summary["status"] == COMPLETE
            and all(verdict == "ok" for verdict in (summary["audit"] or {}).values())
            and held.shaping(*stages) == asked.shaping(*stages)
            and all(getattr(held, x) or not getattr(asked, x) for x in _ADDITIONS)
            and set(asked.quantize) <= set(held.quantize)
        )

    def start(self, threads: int) -> None:
        """Starts its process: in a session of its own, so that Ctrl-C reaches only the sweep."""
        self.started = time.monotonic()
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            output = self.log.open("w")
        except OSError as error:
            raise TfpruneError(f"cannot write {str(self.log)!r}: {error.strerror}") from None
        with output:
            self.process = subprocess.Popen(
                # The sweep's flags come last and win.
                [sys.executable, "-m", "tfprune.main", f"--threads={threads}", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def failure(self) -> str:
        """Why it has no figures, in a few words; empty where it has some."""
        status = 0 if self.process is None else self.process.returncode
        if status:
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "")
            how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            return f"failed ({how}): {last.removeprefix('tfprune: error: ')}"
        try:
            read_summary(self.folder.summary)
        except TfpruneError as error:
            return f"failed: {error}"
        return ""

    def result(self) -> str:
        """Its figures, or why it has none, in a few words."""
        if failure := self.failure():
            return failure
        summary = read_summary(self.folder.summary)
        figures = [
            f"{name} {summary[key]:.4f}"
            for name, key in (
                *(("dense", "dense_accuracy"), ("control", "control_accuracy")),
                *(("final", "final_accuracy"), ("validation", "validation_accuracy")),
            )
            if summary[key] is not None
        ]
        return ", ".join(figures)


def find_configs(places: Sequence[str]) -> list[Path]:
    """The flagfiles that files, folders and patterns name, each once.

    `*_base.cfg`, which only others include, is left out wherever it comes from.

    Raises:
        UsageError: nothing there.
    """
    found: dict[Path, None] = {}
    for place in places:
        if Path(place).is_dir():
            files = sorted(Path(place).glob("*.cfg"))
        else:
            files = [Path(place)] if Path(place).is_file() else sorted(map(Path, glob.glob(place)))
        files = [file for file in files if file.is_file()]
        if not files:
            raise UsageError(f"there is no flagfile {place!r}, nor a folder of *.cfg files")
        found |= dict.fromkeys(file for file in files if not file.name.endswith("_base.cfg"))
    if not found:
        raise UsageError(f"only *_base.cfg files, which are no experiments, in {list(places)}")
    return list(found)


def plan(configs: Sequence[Path], seeds: Sequence[int], flags: Sequence[str]) -> list[Job]:
    """The runs of a sweep in the order in which they are to start.

    Raises:
        UsageError: flags that cannot be used, a dry run, or two runs in one folder.
    """
    jobs = []
    folders: dict[Path, str] = {}
    for flagfile in configs:
        for seed in seeds:
            arguments = [f"--flagfile={flagfile}", f"--seed={seed}", "--noprogress", *flags]
            try:
                config = parse(arguments)
            except UsageError as error:
                raise UsageError(f"{flagfile}: {error}") from None
            if config.dry_run:
                raise UsageError(
                    f"{flagfile}: a sweep takes no --dry_run, which leaves nothing to report; "
                    "python -m tfprune.main shows what a run would prune"
                )
            run = f"{flagfile} seed {seed}"
            if other := folders.get(config.run_path.resolve()):
                raise UsageError(
                    f"two runs would share the folder {str(config.run_path)!r}; received {other} "
                    f"and {run}"
                )
            folders[config.run_path.resolve()] = run
            jobs.append(Job(flagfile, config, arguments))
    first: dict[str, Job] = {}
    for job in sorted(jobs, key=lambda job: job.config.sparsity > 0):  # dense training alone
        first.setdefault(job.baseline, job)
    jobs.sort(key=lambda job: first[job.baseline] is not job)
    for number, job in enumerate(jobs, 1):
        job.place = f"[{number:>{len(str(len(jobs)))}}/{len(jobs)}] {job.config.run_name} seed "
        job.place += str(job.config.seed)
    return jobs
