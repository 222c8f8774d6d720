"""Kills runs at random instants, resumes them, and compares them with one never killed.

    python tools/kill_runs.py --flagfile=configs/lenet5_conv90.cfg --kills=20 --seed=0 \
        -- --epochs=2 --retrain_epochs=2

A first run, `--deterministic --threads=1 --code`, is left alone; it shows how long each stage
takes: start, dense training, control, pruning, retraining, export, coding. Then others of the
same flags are killed, the stages in turn, each at an instant drawn from its stage's length.
The same command resumes them, and in the end they have to be equal to the first to the bit
(`compare_runs.py` says in what). Exit status 0 if all are, else 1.

With `--signals=TERM,INT` in place of the default KILL it is also checked that the run ends
with status 143 or 130 and says how to resume. What follows `--` goes to every run.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from compare_runs import differences

ROOT = Path(__file__).resolve().parents[1]
_START = "start"
_SECONDS = 3600


@dataclass
class Running:
    """A run in a process of its own, watched by the stages that it names."""

    flags: list[str]
    runs_dir: Path
    stages: list[tuple[str, float]] = field(default_factory=list)
    output: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        command = [sys.executable, "-u", "-m", "tfprune.main", *self.flags]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.stages.append((_START, time.monotonic()))
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            [*command, f"--runs_dir={self.runs_dir}"],
            env={k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
            | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.changed:
                self.output.append(line.rstrip())
                if line.startswith("stage "):
                    self.stages.append((line.split()[1], time.monotonic()))
                self.changed.notify_all()

    def wait_for(self, stages: list[str]) -> bool:
        """Waits until the run is in one of these stages; False if it ends before."""
        with self.changed:
            while self.stages[-1][0] not in stages:
                if self.process.poll() is not None:
                    return False
                self.changed.wait(0.1)
        return True

    def linger(self, seconds: float) -> None:
        """Waits these seconds, or until the stage at hand ends: runs are not equally fast."""
        deadline, stage = time.monotonic() + seconds, self.stages[-1]
        with self.changed:
            while self.stages[-1] == stage and self.process.poll() is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self.changed.wait(min(left, 0.1))

    def end(self) -> int:
        """Waits for the end; gives the exit status."""
        status = self.process.wait(_SECONDS)
        self._reader.join()
        return status


@dataclass(frozen=True)
class Kill:
    """A signal, sent some seconds after a stage began."""

    number: signal.Signals
    stage: str
    delay: float


def reference(flags: list[str], runs_dir: Path) -> dict[str, float]:
    """Runs without a kill; gives the seconds of each stage, in order."""
    run = Running(flags, runs_dir)
    if run.end() != 0:
        raise SystemExit("the run that nobody kills failed:\n" + "\n".join(run.output[-20:]))
    ends = [began for _, began in run.stages[1:]] + [time.monotonic()]
    return {stage: end - began for (stage, began), end in zip(run.stages, ends, strict=True)}


def draw(
    kills: int, signals: list[signal.Signals], lengths: dict[str, float], seed: int
) -> list[Kill]:
    """The kills: stages in turn, or evenly spread where there are more of them than kills."""
    moments = random.Random(seed)
    names = list(lengths)
    result = []
    for i in range(kills):
        stage = names[i * len(names) // kills if kills < len(names) else i % len(names)]
        delay = moments.uniform(0, lengths[stage])
        result.append(Kill(signals[i % len(signals)], stage, delay))
    return result


def suffer(flags: list[str], runs_dir: Path, kills: list[Kill], stages: list[str]) -> list[str]:
    """One run, killed and resumed, to its end; prints each kill, gives the stages hit.

    Raises:
        AssertionError: what has to hold after a kill did not.
    """
    hit = []
    for kill in sorted(kills, key=lambda kill: stages.index(kill.stage)):
        run = Running(flags, runs_dir)
        # What stands is skipped: then the first stage after it is the one that is killed.
        if run.wait_for(stages[stages.index(kill.stage) :]):
            began = run.stages[-1][1]
            run.linger(kill.delay)
            stage = run.stages[-1][0]
            run.process.send_signal(kill.number)
            status = run.end()
            if status == 0:  # it was faster than the signal
                break
            print(
                f"  {kill.number.name} {time.monotonic() - began:6.2f} s after {kill.stage} began: "
                f"hit {stage}, exit status {status}",
                flush=True,
            )
            if kill.number == signal.SIGKILL:
                assert status == -signal.SIGKILL, run.output[-3:]
            elif stage != _START:  # before it, Python itself may still be starting
                assert status == 128 + kill.number, (status, run.output[-3:])
                assert "the same command resumes" in run.output[-1], run.output[-3:]
            hit.append(stage)
    run = Running(flags, runs_dir)
    assert run.end() == 0, "it could not be resumed:\n" + "\n".join(run.output[-20:])
    return hit


def main() -> int:
    # A shell that starts this in the background has it, and its runs, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    arguments = [*sys.argv[1:], "--"]
    end = arguments.index("--")
    own, more = arguments[:end], arguments[end + 1 : -1]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flagfile", required=True, help="the experiment")
    parser.add_argument("--kills", type=int, default=20, help="number of kills")
    parser.add_argument("--per_run", type=int, default=1, help="kills that one run suffers")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--signals", default="KILL", help="KILL, TERM, INT: in turn")
    parser.add_argument("--folder", type=Path, help="where to run; default: a temporary one")
    options = parser.parse_args(own)
    signals = [signal.Signals[f"SIG{name}"] for name in options.signals.split(",")]
    flags = [f"--flagfile={options.flagfile}", "--deterministic", "--threads=1", "--code"]
    flags += ["--noprogress", *more]
    with tempfile.TemporaryDirectory() as scratch:
        return hunt(options, signals, flags, options.folder or Path(scratch))


def hunt(
    options: argparse.Namespace, signals: list[signal.Signals], flags: list[str], folder: Path
) -> int:
    """Runs the reference, then the others with their kills, and compares."""
    whole = folder / "whole"
    lengths = reference(flags, whole)
    print("stages: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in lengths.items()))
    waiting = collections.deque(draw(options.kills, signals, lengths, options.seed))
    survived, count, hits = 0, 0, collections.Counter[str]()
    for attempt in range(2 * options.kills):
        if not waiting:
            break
        kills = [waiting.popleft() for _ in range(min(options.per_run, len(waiting)))]
        parts = folder / f"parts{attempt}"
        parts.mkdir()
        if (whole / "cache").is_dir():  # the decoded data set is not what is tested
            (parts / "cache").symlink_to((whole / "cache").resolve())
        try:
            hit = suffer(flags, parts, kills, list(lengths))
            found = differences(whole, parts)
        except AssertionError as error:
            hit, found = [kill.stage for kill in kills], [str(error)]
        # A kill that came too late is made up for with a shorter delay.
        late = kills[len(hit) :]
        waiting += [Kill(kill.number, kill.stage, kill.delay / 2) for kill in late]
        count += len(hit)
        hits.update(hit)
        if found:
            print("\n    ".join([f"run {attempt + 1} ends otherwise:", *found]), flush=True)
        else:
            survived += len(hit)
            print(f"run {attempt + 1} ends equal to the bit: {survived} of {count}", flush=True)
            shutil.rmtree(parts)
    print("hit: " + ", ".join(f"{name} {hits[name]}" for name in lengths))
    print(f"{survived} of {options.kills} kills: resumed, and equal to the bit")
    return 0 if survived == options.kills else 1


if __name__ == "__main__":
    sys.exit(main())
