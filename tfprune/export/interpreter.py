"""Running a TFLite file: any number of inputs, on LiteRT's interpreter."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from tfprune.errors import TfpruneError, UsageError
from tfprune.machine import cores
from tfprune.quiet import quiet


class Inputs(Protocol):
    """(N, ...) model inputs, by slices: an array, or what makes each slice when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> np.ndarray: ...


def run_tflite(
    path: str | Path, inputs: Inputs, *, batch_size: int = 256, threads: int | None = None
) -> np.ndarray:
    """Runs a TFLite file on any number of inputs.

    Args:
        path: a `.tflite` file with one input and one output.
        inputs: (N, ...) in the file's input shape.
        batch_size: samples a run; the last run takes what is left.
        threads: CPU threads; None: one for each core this process may use.

    Returns:
        (N, ...) outputs.

    Raises:
        UsageError: a batch size below 1 or no inputs at all.
        TfpruneError: the file is missing or corrupt or does not run on these inputs.
    """
    if batch_size < 1 or not len(inputs):
        raise UsageError(
            "run_tflite needs at least one input and a batch size of 1 or more. "
            f"Received: {len(inputs)} inputs, batch_size={batch_size}"
        )
    runner = _Runner(path, threads or cores())
    starts = range(0, len(inputs), batch_size)
    return np.concatenate([runner(inputs[start : start + batch_size]) for start in starts])


def latencies_ms(
    paths: Mapping[str, str | Path], sample: Inputs, *, rounds: int = 50, threads: int = 1
) -> dict[str, float]:
    """Median time of one run of each file on one input, in milliseconds.

    The files take turns within every round, so that what else the machine does falls on all
    of them alike; compare the figures of one call, not of two.

    Args:
        paths: label -> `.tflite` file.
        sample: (1, ...) or (N, ...); only the first input is used.
        rounds: timed runs of each file, after two that warm up.
        threads: CPU threads.

    Raises:
        UsageError: fewer than one round.
        TfpruneError: a file is missing or corrupt or does not run.
    """
    if rounds < 1:
        raise UsageError(f"latencies need at least 1 round. Received: rounds={rounds}")
    runners = {label: _Runner(path, threads) for label, path in paths.items()}
    times: dict[str, list[float]] = {label: [] for label in runners}
    one = sample[:1]  # made here, which may take longer than what is timed
    for turn in range(-2, rounds):
        for label, runner in runners.items():
            start = time.perf_counter()
            runner(one)
            if turn >= 0:
                times[label].append(time.perf_counter() - start)
    return {label: float(np.median(seconds)) * 1000 for label, seconds in times.items()}


class _Runner:
    """An interpreter that resizes its batch when it has to."""

    def __init__(self, path: str | Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.path = Path(path)
        if not self.path.is_file():
            raise TfpruneError(f"there is no TFLite file {self.path}")
        with self._errors("can not be loaded"), quiet():
            self.interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self.input = self.interpreter.get_input_details()[0]
            self.output = self.interpreter.get_output_details()[0]["index"]
        self.shape: tuple[int, ...] | None = None

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        with self._errors("does not run"):
            if batch.shape != self.shape:
                with quiet():
                    self.interpreter.resize_tensor_input(self.input["index"], batch.shape)
                    self.interpreter.allocate_tensors()
                self.shape = batch.shape
            self.interpreter.set_tensor(self.input["index"], batch.astype(self.input["dtype"]))
            self.interpreter.invoke()
            return self.interpreter.get_tensor(self.output)

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError) as error:
            raise TfpruneError(f"TFLite file {self.path} {what}: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """The line of a (possibly very long) message that names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if "error:" in line or "not supported" in line]
    line = (causes or lines or [type(error).__name__])[0]
    return line if len(line) <= 300 else line[:297] + "..."
