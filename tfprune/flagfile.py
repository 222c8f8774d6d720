"""Flagfiles: one flag a line, comments on lines of their own (`#`), files include files.

absl resolves an included flagfile against the working directory. Here a file that another
one includes is found relative to the one that includes it, so that `configs/` works from
anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tfprune.errors import UsageError

_NAMES = ("--flagfile", "-flagfile")


def expand_flagfiles(arguments: Sequence[str], folder: Path | None = None) -> list[str]:
    """Arguments with each `--flagfile=FILE` (or `--flagfile FILE`) replaced by its flags, in place.

    Args:
        arguments: command-line arguments.
        folder: what relative file names are relative to; default: the working directory.

    Raises:
        UsageError: a file is missing, unreadable, or includes itself, or a line of it is no flag
            or has a comment behind one.
    """
    return _expand(arguments, folder or Path(), ())


def _expand(arguments: Sequence[str], folder: Path, open_files: tuple[Path, ...]) -> list[str]:
    result: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name not in _NAMES:
            result.append(argument)
            continue
        if not equals:
            value = next(rest, "")
        if not value:
            raise UsageError("--flagfile needs a file name: --flagfile=configs/quickstart.cfg")
        result += _expand_file(folder / value, open_files)
    return result


def _expand_file(path: Path, open_files: tuple[Path, ...]) -> list[str]:
    path = path.resolve()
    if path in open_files:
        raise UsageError(f"flagfile {path.name!r} includes itself")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UsageError(f"cannot read flagfile {str(path)!r}: {reason}") from None
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("#", "//"))]
    for line in lines:
        if not line.startswith("-"):
            raise UsageError(f"flagfile {path.name!r}: a line is one --flag; received {line!r}")
        if re.search(r"\s#", line):  # absl takes all of it for the value
            raise UsageError(
                f"flagfile {path.name!r}: a comment needs a line of its own; received {line!r}"
            )
    return _expand(lines, path.parent, (*open_files, path))
