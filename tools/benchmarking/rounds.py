"""Contenders that take turns: each in a process of its own, one round of one at a time.

Machines are noisy, and what slows one contender for a minute slows all of them. So they
alternate, every second time in reverse order, and are compared round by round.

A contender is a function `(turn, **options)`. It prepares itself, then works for ever,
calling `turn()` before each round:

    def sort(turn, size):
        numbers = np.random.default_rng(0).random(size)
        while True:
            turn()
            np.sort(numbers)

`turn(**notes)` ends a round and its clock, hands the notes over, and waits for the next. What
prepares the next round is not counted after `turn.stop()`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import multiprocessing
import os
import resource
import statistics
import time
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tfprune.memory import keep_freed_memory

#: Experiments run on tf_keras, as `tfprune.main` has it; the start of TensorFlow is quiet.
ENVIRONMENT = {
    "TF_USE_LEGACY_KERAS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


class MissingPeerError(Exception):
    """A contender's package is not installed; the message is its name."""


class ContenderError(Exception):
    """A contender failed; the message is its traceback."""


class _Finished(BaseException):
    """No more rounds; passes through whatever loop the contender is in."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """Who takes part.

    Attributes:
        name: as the table calls it.
        function: "module:function" below `benchmarking`.
        options: keyword arguments of the function.
        environment: variables beside `ENVIRONMENT`.
        rounds: takes part in the first so many rounds only, None in all: for slow peers.
        warm_up: whether it needs rounds that are not measured.
        keeps_memory: whether its process keeps freed memory, as `tfprune.main` has it.
    """

    name: str
    function: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rounds: int | None = None
    warm_up: bool = True
    keeps_memory: bool = True


@dataclasses.dataclass
class Timings:
    """The measured rounds of one contender, in order.

    Attributes:
        wall: seconds.
        cpu: seconds of all its threads and of the processes it started.
        notes: what it handed over.
    """

    wall: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)
    notes: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Median wall seconds of a round."""
        return statistics.median(self.wall)

    @property
    def cpu_seconds(self) -> float:
        """Median CPU seconds of a round."""
        return statistics.median(self.cpu)

    def note(self, key: str) -> float:
        """Median of a note."""
        return statistics.median(notes[key] for notes in self.notes)

    def each(self, key: str) -> list[float]:
        """A note of every round."""
        return [notes[key] for notes in self.notes]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios of paired rounds; of one that took part in fewer, the first."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=False))


def alternate(
    contenders: Sequence[Contender], rounds: int, *, log: Path, warm_up: int = 1
) -> dict[str, Timings]:
    """Lets contenders take turns.

    Args:
        contenders: who; names differ.
        rounds: measured rounds of each.
        log: where what they print goes.
        warm_up: rounds of each before them, not measured.

    Returns:
        Name -> timings; contenders whose package is missing are left out.

    Raises:
        ContenderError: one of them failed.
    """
    started: list[tuple[Contender, Any, Connection]] = []
    timings: dict[str, Timings] = {}
    try:
        for contender in contenders:
            process, connection = _start(contender, log)
            started.append((contender, process, connection))
            try:
                for _ in range(1 + warm_up * contender.warm_up):  # the first answer says: prepared
                    _round(connection)
                timings[contender.name] = Timings()
            except MissingPeerError:
                started.pop()
        for number in range(rounds):
            for contender, _, connection in started[:: -1 if number % 2 else 1]:
                if contender.rounds is not None and number >= contender.rounds:
                    continue
                wall, cpu, notes = _round(connection)
                taken = timings[contender.name]
                taken.wall.append(wall)
                taken.cpu.append(cpu)
                taken.notes.append(notes)
    finally:
        for _, process, connection in started:
            connection.close()
            process.join(timeout=20)
            if process.is_alive():
                process.terminate()
    return timings


def _start(contender: Contender, log: Path) -> tuple[Any, Connection]:
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(there, contender, log), daemon=True)
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT | dict(contender.environment))
    try:
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    there.close()
    return process, here


def _round(connection: Connection) -> tuple[float, float, dict[str, Any]]:
    connection.send("go")
    try:
        kind, content = connection.recv()
    except EOFError:
        raise ContenderError("the process ended") from None
    if kind == "missing":
        raise MissingPeerError(content)
    if kind == "failed":
        raise ContenderError(content)
    return content


def _serve(connection: Connection, contender: Contender, log: Path) -> None:
    """The child's part."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if contender.keeps_memory:
        keep_freed_memory()
    module, _, name = contender.function.partition(":")
    turn = Turn(connection)
    try:
        function = getattr(importlib.import_module(f"benchmarking.{module}"), name)
        function(turn, **contender.options)
    except (_Finished, KeyboardInterrupt):
        pass
    except ModuleNotFoundError as error:
        turn.answer("missing", error.name)
    except BaseException:  # all of it belongs to the parent
        with contextlib.suppress(_Finished):
            turn.answer("failed", f"{contender.name}: {traceback.format_exc()}")


class Turn:
    """What a contender calls before each of its rounds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asked = False
        self._wall = self._cpu = 0.0
        self._stopped: tuple[float, float] | None = None

    def __call__(self, **notes: Any) -> None:
        """Ends the round before, if any, and waits for the next."""
        self.stop()
        if not self._asked:  # prepared; the first "go" only asked for that
            self._wait()
        assert self._stopped is not None
        self.answer("round", (*self._stopped, notes))
        self._wait()
        self._stopped = None
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()

    def stop(self) -> None:
        """Stops the clock of this round."""
        if self._stopped is None:
            self._stopped = time.perf_counter() - self._wall, _cpu_seconds() - self._cpu

    def answer(self, kind: str, content: Any) -> None:
        """Sends a message to the parent, if it still listens."""
        try:
            self._connection.send((kind, content))
        except OSError:
            raise _Finished from None

    def _wait(self) -> None:
        try:
            self._connection.recv()
        except EOFError:
            raise _Finished from None
        self._asked = True


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
