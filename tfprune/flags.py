"""From command-line flags to a `Config`.

Nothing here imports TensorFlow, so that `--help` and every usage error answer at once.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence

from absl import flags

from tfprune.config import Config
from tfprune.errors import UsageError
from tfprune.flag_field import text_of
from tfprune.flagfile import expand_flagfiles


def _define(values: flags.FlagValues) -> None:
    """Defines one absl flag for each field of `Config`."""
    for field in dataclasses.fields(Config):
        name, text, default = field.name, field.metadata["help"], field.default
        if isinstance(default, bool):
            flags.DEFINE_bool(name, default, text, flag_values=values)
        elif isinstance(default, int):
            flags.DEFINE_integer(name, default, text, flag_values=values)
        elif isinstance(default, float):
            flags.DEFINE_float(name, default, text, flag_values=values)
        elif isinstance(default, tuple):
            flags.DEFINE_list(name, list(default), text, flag_values=values)
        else:
            flags.DEFINE_string(name, default, text, flag_values=values)


def parse(arguments: Sequence[str]) -> Config:
    """The `Config` that command-line arguments (without the program's name) describe.

    Flagfiles are expanded first, so that a flag given after `--flagfile` wins.

    Raises:
        UsageError: unknown flag, wrong type, value out of range, missing flagfile.
    """
    values = flags.FlagValues()
    _define(values)
    try:
        rest = values(["tfprune", *expand_flagfiles(arguments)])[1:]
    except flags.Error as error:
        raise UsageError(" ".join(str(error).split())) from None
    if rest:
        raise UsageError(f"only --flags are understood; received {' '.join(rest)!r}")
    fields = {}
    for field in dataclasses.fields(Config):
        value = values[field.name].value
        if isinstance(field.default, tuple):
            value = _tuple(field, value)
        fields[field.name] = value
    return Config(**fields)


def _tuple(field: dataclasses.Field, items: list[str]) -> tuple:
    kinds = {"int": (int, "whole numbers"), "float": (float, "numbers")}
    kind, what = next((kinds[k] for k in kinds if k in str(field.type)), (str, ""))
    try:
        return tuple(kind(item) for item in items)
    except ValueError:
        raise UsageError(f"--{field.name} takes {what}; received {','.join(items)!r}") from None


_HELP = {"--help", "-help", "-h", "--helpfull", "--helpshort", "-?"}

_INTRODUCTION = """\
usage: python -m tfprune.main --flagfile=configs/quickstart.cfg [--flag=value ...]

Trains (or loads) a network, prunes it, retrains it, proves the zeros, exports it and
reports what it cost. The same command resumes an interrupted run. A flagfile holds one
flag a line; flags given after it win."""


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether the arguments ask for `--help`."""
    return bool(_HELP.intersection(arguments))


def help_text(introduction: str = _INTRODUCTION) -> str:
    """What `--help` prints: the introduction, then every flag with its default and its help."""
    lines = [introduction, ""]
    for field in dataclasses.fields(Config):
        kind = type(field.default).__name__ if not isinstance(field.default, tuple) else "list"
        shown = text_of(field.default) if field.default not in ("", ()) else "empty"
        lines.append(f"  --{field.name}  ({kind}, default {shown})")
        lines += textwrap.wrap(
            field.metadata["help"], 92, initial_indent="      ", subsequent_indent="      "
        )
    return "\n".join(lines)
