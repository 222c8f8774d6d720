"""What a field of `Config` says of a flag: default, help, the stage it shapes, its range."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfprune.errors import UsageError


def flag(
    default: Any,
    text: str,
    shapes: str,
    *,
    choices: tuple[str, ...] | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    below: float = math.inf,
) -> Any:
    """A field of `Config`: default, help text, the stage it shapes, and its range.

    Numbers lie in [low, high] and under `below`.
    """
    metadata = {
        "help": text,
        "shapes": shapes,
        "choices": choices,
        "low": low,
        "high": high,
        "below": below,
    }
    return dataclasses.field(default=default, metadata=metadata)


def text_of(value: Any) -> str:
    """A flag's value as it is typed."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def check_range(field: dataclasses.Field, value: Any) -> None:
    """Refuses a value that is not among the choices, or not in the range."""
    meta = field.metadata
    if meta["choices"] and value not in meta["choices"]:
        raise UsageError(
            f"--{field.name} must be one of {', '.join(meta['choices'])}; received {value!r}"
        )
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, str):
            continue
        low, high, below = meta["low"], meta["high"], meta["below"]
        if not (low <= number <= high and number < below and math.isfinite(number)):
            upper = f"{below:g})" if below < math.inf else f"{high:g}]"
            raise UsageError(
                f"--{field.name} must be in [{low:g}, {upper}; received {text_of(value)}"
            )
