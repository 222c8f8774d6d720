"""How long a command takes to answer, and where the time goes."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarking.measurement import Found, Options
from benchmarking.record import Line, side
from benchmarking.rounds import Contender, Timings, Turn, alternate

ROOT = Path(__file__).resolve().parents[2]
#: The progress bar once it counts an image.
_STEP_DONE = re.compile(rb"\| [1-9]\d*/\d+ \[")
_QUICKSTART = f"--flagfile={ROOT / 'configs' / 'quickstart.cfg'}"


def command(turn: Turn, arguments: Sequence[str], status: int = 0) -> None:
    """A Python command, from its start to its end.

    Args:
        turn: see `rounds`.
        arguments: of the interpreter.
        status: the exit status expected.
    """
    while True:
        turn()
        done = subprocess.run([sys.executable, *arguments], capture_output=True, cwd=ROOT)
        if done.returncode != status:
            raise RuntimeError(f"exit status {done.returncode}: {done.stderr.decode()[-500:]}")


def quickstart(turn: Turn) -> None:
    """The quickstart from the command to its first training step, in an empty folder."""
    while True:
        with tempfile.TemporaryDirectory() as runs:
            turn()
            process = subprocess.Popen(
                [sys.executable, "-m", "tfprune.main", _QUICKSTART, f"--runs_dir={runs}"],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            assert process.stderr is not None
            shown = b""
            while not _STEP_DONE.search(shown):
                more = process.stderr.read1(4096)
                if not more:
                    raise RuntimeError(f"no training step: {shown[-500:].decode()}")
                shown += more
            process.kill()  # before its folder goes
            process.wait()
            turn.stop()


def stages(turn: Turn) -> None:
    """The same in one interpreter, stage by stage; notes seconds by stage."""
    notes: dict[str, float] = {}
    while True:
        turn(**notes)
        done = subprocess.run(
            [sys.executable, "-c", _STAGES, str(time.time()), _QUICKSTART],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        )
        lines = [line.split("=") for line in done.stdout.splitlines() if "=" in line]
        notes = {name: float(seconds) for name, seconds in lines}


#: What `tfprune.main` does up to the first step, with a clock between.
_STAGES = """
import sys, tempfile, time
from pathlib import Path
last = float(sys.argv[1])
def stage(name):
    global last
    now = time.time()
    print(f"{name}={now - last}", flush=True)
    last = now
from tfprune.flags import parse
from tfprune.keras_line import choose_keras
config = parse([sys.argv[2], "--noprogress"])
choose_keras(2)
stage("interpreter and flags")
import tensorflow
stage("import of TensorFlow")
tensorflow.keras.layers
stage("import of Keras")
from tfprune import experiment
stage("other imports")
from tfprune.setting import Setting, configure_tensorflow
from tfprune.training.checkpoint import CheckpointFolder
from tfprune.training.loop import Trainer
configure_tensorflow(config)
setting = Setting(config)
stage("data")
model = setting.new_model()
stage("network")
class Done(Exception):
    pass
class Checkpoints(CheckpointFolder):
    def save(self, *arguments):
        raise Done
import dataclasses
plan = dataclasses.replace(setting.dense_plan(), epochs=1)
split = setting.dataset.train.take(range(plan.batch_size))
folder = Checkpoints(Path(tempfile.gettempdir()), "none")
trainer = Trainer(
    model, plan, split, setting.normalization, folder, "none", show_progress=False
)
try:
    trainer.run(lambda: {}, lambda record: None)
except Done:
    stage("tracing and first step")
"""


def measure(options: Options) -> Found:
    """--help, a flag error, the quickstart's first step."""
    main = ["-m", "tfprune.main"]
    timings = alternate(
        [
            Contender("python", "start:command", {"arguments": ["-c", "pass"]}),
            Contender("help", "start:command", {"arguments": [*main, "--help"]}),
            Contender("error", "start:command", {"arguments": [*main, "--epochs=x"], "status": 2}),
            Contender("tensorflow", "start:command", {"arguments": ["-c", _KERAS]}),
            Contender("quickstart", "start:quickstart"),
            Contender("stages", "start:stages"),
        ],
        options.rounds,
        log=options.log,
    )
    bare, tensorflow = timings["python"].seconds, timings["tensorflow"].seconds
    lines = [
        _line("`python -m tfprune.main --help`", timings["help"], 0.5, bare, "python -c pass"),
        _line("a flag error", timings["error"], 1.0, bare, "python -c pass"),
        _line(
            "`quickstart`, from command to first training step",
            timings["quickstart"],
            12.0,
            tensorflow,
            "TensorFlow and tf_keras imported",
            _parts(timings["stages"]),
        ),
    ]
    return Found(lines)


_KERAS = "import tensorflow; tensorflow.keras.layers"


def _parts(timings: Timings) -> str:
    names = list(timings.notes[-1])
    return ", ".join(f"{name} {timings.note(name):.2f} s" for name in names)


def _line(
    what: str, timings: Timings, bar: float, floor: float, floor_of: str, note: str = ""
) -> Line:
    return Line(
        what,
        "seconds",
        timings.seconds,
        len(timings.wall),
        side("tfprune", timings),
        at_most=bar,
        floor=floor,
        floor_of=floor_of,
        note=note,
    )
