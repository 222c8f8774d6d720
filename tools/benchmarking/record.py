"""What a measurement leaves: lines of the table, as JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarking.rounds import Timings, ratio
from tfprune.atomic import write_text

#: What the figure of a line is; of some more is better.
FIGURES = ("time", "speed", "memory", "seconds", "growth")


@dataclasses.dataclass(frozen=True)
class Side:
    """One contender's part of a line: seconds, medians over the rounds.

    Attributes:
        name: who it is.
        seconds: wall seconds of the work, None where the line is not about time.
        cpu_seconds: of all threads; None where it was not measured by itself.
    """

    name: str
    seconds: float | None = None
    cpu_seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        what: what was measured.
        figure: what `value` is: "time" or "memory" (ours / contender's), "speed" (the
            contender's time / ours), "seconds" (ours), "growth" (see `growth`).
        value: the figure.
        rounds: how many it is the median of.
        ours: our side.
        contender: the other side, or None.
        at_most: the bar of `value`, or None.
        at_least: the bar of `value`, or None.
        floor: seconds that the hardware takes for the work, by the rates of the same run.
        floor_of: what that counts.
        note: what else there is to say.
    """

    what: str
    figure: str
    value: float
    rounds: int
    ours: Side
    contender: Side | None = None
    at_most: float | None = None
    at_least: float | None = None
    floor: float | None = None
    floor_of: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.figure not in FIGURES:
            raise ValueError(f"figure must be one of {', '.join(FIGURES)}; got {self.figure!r}")

    @property
    def held(self) -> bool | None:
        """Whether the value meets the bar; None without one."""
        if self.at_most is not None:
            return self.value <= self.at_most
        if self.at_least is not None:
            return self.value >= self.at_least
        return None


def side(name: str, timings: Timings, *, per: float = 1.0) -> Side:
    """A side of a line from its rounds.

    Args:
        name: who it is.
        timings: its rounds.
        per: pieces of work in a round; the seconds are those of one piece.
    """
    return Side(name, timings.seconds / per, timings.cpu_seconds / per)


def compared(
    what: str,
    figure: str,
    ours: tuple[str, Timings],
    contender: tuple[str, Timings],
    *,
    per: float = 1.0,
    **rest: Any,
) -> Line:
    """A line of two contenders whose rounds alternated.

    Args:
        what: what was measured.
        figure: "time" or "speed".
        ours: name and rounds.
        contender: name and rounds.
        per: pieces of work in a round.
        **rest: further fields of `Line`.
    """
    (name, mine), (other, theirs) = ours, contender
    pair = (mine.wall, theirs.wall) if figure == "time" else (theirs.wall, mine.wall)
    return Line(
        what,
        figure,
        ratio(*pair),
        min(len(mine.wall), len(theirs.wall)),
        side(name, mine, per=per),
        side(other, theirs, per=per),
        **rest,
    )


@dataclasses.dataclass(frozen=True)
class Record:
    """What one measurement found.

    Attributes:
        measurement: its name.
        lines: of the table.
        skipped: contenders whose package is not installed.
        rates: "bytes_per_second" of memory and "operations_per_second" of matrix products,
            measured among the rounds; empty where no floor needs them.
        minutes: how long the measurement took.
        quick: made with small sizes, to test the tool: no evidence.
        series: for plots: name -> {"unit", "sizes", "seconds"}.
        versions: of the packages.
        machine: it ran on.
    """

    measurement: str
    lines: list[Line]
    skipped: list[str]
    rates: dict[str, float]
    minutes: float
    quick: bool
    series: dict[str, dict[str, Any]]
    versions: dict[str, str]
    machine: dict[str, Any]


def write_record(path: Path, record: Record) -> None:
    """Writes a record as JSON, whole or not at all; four significant digits."""
    text = json.dumps(_rounded(dataclasses.asdict(record)), indent=1) + "\n"
    write_text(path, text)


def read_record(path: Path) -> Record:
    """The record in a file that `write_record` wrote."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    lines = []
    for line in fields.pop("lines"):
        sides = {key: line[key] and Side(**line[key]) for key in ("ours", "contender")}
        lines.append(Line(**(line | sides)))
    return Record(lines=lines, **fields)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
