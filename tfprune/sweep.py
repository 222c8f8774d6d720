"""Many runs from one command: `python -m tfprune.sweep configs/lenet5_*.cfg --seeds=0,1,2`.

Runs each config for each seed, some at a time, each in a process of its own that gets its
share of the cores; what follows `--` goes to every run. Runs that share a dense baseline are
ordered so that the one which trains it comes first; their locks see to it that it is trained
once in any case. Finished runs are skipped and interrupted ones resumed; one that fails is
named at the end, the others go on. Ctrl-C has every run write its checkpoint and stop. The
end is the report: tables and plots of all runs of the sweep.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tfprune.command import ArgumentParser, exit_status_of
from tfprune.errors import TfpruneError, UsageError
from tfprune.job import Job, find_configs, plan
from tfprune.machine import machine
from tfprune.report import collect, find_summaries, read_runs, write_report
from tfprune.reporting.rows import result_rows
from tfprune.training.interrupt import Interruptible

_LOOK_SECONDS = 0.1


class InterruptedSweepError(TfpruneError):
    """The sweep was asked to stop, and so were its runs."""

    def __init__(self, number: int, done: int, count: int) -> None:
        name = signal.Signals(number).name
        super().__init__(
            f"{name}: stopped with {done} of {count} runs finished; the same command resumes"
        )
        self.exit_status = 128 + number


def run_all(jobs: Sequence[Job], at_once: int, threads: int) -> list[Job]:
    """Runs what does not stand yet; gives the runs that failed.

    Raises:
        InterruptedSweepError: SIGINT or SIGTERM arrived; every run has stopped.
    """
    pending: list[Job] = []
    running: list[Job] = []
    failed: list[Job] = []
    for job in jobs:
        if job.stands():
            print(f"{job.place}: stands: {job.result()}", flush=True)
        else:
            pending.append(job)
    with Interruptible() as interruptible:
        try:
            while (pending or running) and interruptible.received is None:
                for job in list(_ended(running)):
                    running.remove(job)
                    failed += [job] if job.failure() else []
                while pending and len(running) < at_once:
                    # Rather one that need not wait for the baseline which another trains.
                    busy = {job.baseline for job in running}
                    job = next((job for job in pending if job.baseline not in busy), pending[0])
                    pending.remove(job)
                    job.start(threads)
                    running.append(job)
                    print(f"{job.place}: started", flush=True)
                time.sleep(_LOOK_SECONDS)
            if interruptible.received is not None:
                _stop(running, interruptible.received)
                failed_now = [job for job in running if job.failure()]
                done = len(jobs) - len(pending) - len(failed) - len(failed_now)
                raise InterruptedSweepError(interruptible.received, done, len(jobs))
        finally:  # a second signal, or a defect: nothing runs on behind the sweep's back
            for job in running:
                if job.process is not None and job.process.poll() is None:
                    job.process.kill()
    return failed


def _ended(running: Sequence[Job]) -> Iterator[Job]:
    for job in running:
        if job.process is not None and job.process.poll() is not None:
            minutes, seconds = divmod(round(time.monotonic() - job.started), 60)
            print(f"{job.place}: {minutes}:{seconds:02d}: {job.result()}", flush=True)
            yield job


def _stop(running: Sequence[Job], number: int) -> None:
    """Passes a signal on and waits for the checkpoints."""
    print(f"stopping {len(running)} runs, they write their checkpoints", flush=True)
    for job in running:
        assert job.process is not None
        job.process.send_signal(number)
    for job in running:
        assert job.process is not None
        job.process.wait()
        print(f"{job.place}: {job.result()}", flush=True)


def report(jobs: Sequence[Job], out: Path, *, with_plots: bool, collected: bool) -> None:
    """Writes tables and plots of all runs that have a summary, and prints the tables' path.

    Args:
        jobs: the runs.
        out: where the files go.
        with_plots: whether to draw.
        collected: copy the summaries into `out` first, and report all that lie there, also
            those of other sweeps.
    """
    runs = read_runs(job.folder.summary for job in jobs if job.folder.summary.is_file())
    if collected:
        collect(runs, out)
        runs = read_runs(find_summaries([out])) if out.is_dir() else []
    if not runs:
        print("nothing to report: no run has a summary yet")
        return
    written = write_report(result_rows(runs), out, with_plots=with_plots)
    print("\n  ".join([f"report of {len(runs)} runs:", *map(str, written)]))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m tfprune.sweep",
        description="Runs many experiments, some at a time, and reports them. The same command "
        "resumes. What follows -- goes to every run.",
        epilog="exit status: 0 all runs finished; 1 some failed; 2 wrong usage; 130, 143 stopped "
        "by Ctrl-C, SIGTERM",
        allow_abbrev=False,
    )
    parser.add_argument("configs", metavar="CONFIG", nargs="+", help="flagfiles, folders, globs")
    parser.add_argument("--seeds", default="0", help="seeds, comma-separated (default: 0)")
    parser.add_argument("--jobs", default="1", help="runs at a time (default: 1)")
    parser.add_argument("--out", metavar="DIR", help="of the report; default: RUNS_DIR/report")
    parser.add_argument("--no-plots", action="store_true", help="write the tables only")
    parser.add_argument(
        "--collect", action="store_true", help="copy the summaries to DIR/<name>-seed<k>.json"
    )
    parser.add_argument("--report-only", action="store_true", help="run nothing")
    return parser


def _numbers(name: str, text: str, low: int) -> list[int]:
    try:
        numbers = [int(item) for item in text.split(",")]
        if min(numbers) < low or len(set(numbers)) < len(numbers):
            raise ValueError
    except ValueError:
        raise UsageError(
            f"--{name} takes different whole numbers from {low}; received {text!r}"
        ) from None
    return numbers


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    return exit_status_of(lambda: _main(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: Sequence[str]) -> int:
    end = [*arguments, "--"].index("--")
    options: Any = _parser().parse_args(list(arguments[:end]))
    seeds, (at_once, *more) = (
        _numbers("seeds", options.seeds, 0),
        _numbers("jobs", options.jobs, 1),
    )
    if more:
        raise UsageError(f"--jobs takes one number; received {options.jobs!r}")
    jobs = plan(find_configs(options.configs), seeds, arguments[end + 1 :])
    failed: list[Job] = []
    if not options.report_only:
        threads = max(1, int(machine()["cores"]) // at_once)
        failed = run_all(jobs, at_once, threads)
    out = Path(options.out or Path(jobs[0].config.runs_dir) / "report")
    report(jobs, out, with_plots=not options.no_plots, collected=options.collect)
    if failed:
        names = ", ".join(f"{job.config.run_name} seed {job.config.seed}" for job in failed)
        raise TfpruneError(f"{len(failed)} of {len(jobs)} runs failed: {names}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
