"""What a measurement is given and what it gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from benchmarking.record import Line


@dataclasses.dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        rounds: measured rounds of each contender.
        quick: small sizes, for a test of the tool.
        log: where the contenders' output goes.
    """

    rounds: int
    quick: bool
    log: Path


@dataclasses.dataclass(frozen=True)
class Found:
    """What a measurement found; see `record.Record`."""

    lines: list[Line]
    skipped: list[str] = dataclasses.field(default_factory=list)
    rates: dict[str, float] = dataclasses.field(default_factory=dict)
    series: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
