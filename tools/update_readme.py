"""Puts generated files into README.md, between the markers that name them.

    <!-- generated: results/lenet5/results.md -->
    (this text becomes the content of that file)
    <!-- end -->

Each marker stands on a line of its own; the file is looked for from the README's folder.
`python tools/update_readme.py` rewrites the README; with `--check` it changes nothing and
exits 1 if it would.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

_BEGIN = re.compile(r"<!-- generated: (\S+) -->")
_END = "<!-- end -->"


class ReadmeError(Exception):
    """A marker without its end, or a named file that cannot be used."""


def updated(text: str, folder: Path) -> str:
    """`text` with every marked part replaced by the file its marker names.

    Raises:
        ReadmeError: an unpaired marker, or a file that is missing or holds a marker itself.
    """
    result: list[str] = []
    inside = None
    for number, line in enumerate(text.splitlines(), 1):
        begin = _BEGIN.fullmatch(line.strip())
        if begin:
            if inside:
                raise ReadmeError(f"line {number}: a marker before the {_END} of {inside!r}")
            inside = begin[1]
            result += [line, *_content(folder / inside, number)]
        elif line.strip() == _END:
            if not inside:
                raise ReadmeError(f"line {number}: {_END} without a marker before it")
            inside = None
            result.append(line)
        elif not inside:
            result.append(line)
    if inside:
        raise ReadmeError(f"the marker of {inside!r} has no {_END} after it")
    return "\n".join(result) + "\n"


def _content(path: Path, number: int) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").strip("\n").splitlines()
    except OSError as error:
        raise ReadmeError(f"line {number}: {path} cannot be read: {error.strerror}") from None
    if any(line.strip() == _END or _BEGIN.fullmatch(line.strip()) for line in lines):
        raise ReadmeError(f"line {number}: {path} holds a marker itself")
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Puts generated files into README.md.")
    parser.add_argument("--check", action="store_true", help="exit 1 if anything would change")
    parser.add_argument(
        "--readme",
        type=Path,
        default=Path(__file__).resolve().parent.parent / "README.md",
        help="the file to update (default: this project's README.md)",
    )
    options = parser.parse_args(arguments)
    readme: Path = options.readme
    try:
        old = readme.read_text(encoding="utf-8")
        new = updated(old, readme.parent)
    except OSError as error:
        print(f"update_readme: error: {readme}: {error.strerror}", file=sys.stderr)
        return 2
    except ReadmeError as error:
        print(f"update_readme: error: {readme}: {error}", file=sys.stderr)
        return 2
    if new == old:
        return 0
    if options.check:
        print(f"{readme} is not up to date: run python tools/update_readme.py", file=sys.stderr)
        return 1
    temporary = readme.with_name(f".{readme.name}.tmp")
    temporary.write_text(new, encoding="utf-8")
    os.replace(temporary, readme)
    print(f"updated {readme}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
