"""Puts generated files into README.md and docs/*.md, between the markers that name them.

    <!-- generated: results/lenet5/results.md -->
    (this text becomes the content of that file)
    <!-- end -->

Each marker stands on a line of its own; the file is looked for from the project's folder.
`python tools/update_docs.py` rewrites the documents; with `--check` it changes nothing and
exits 1 if it would.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from tfprune.atomic import write_text
from tfprune.command import exit_status_of

_BEGIN = re.compile(r"<!-- generated: (\S+) -->")
_END = "<!-- end -->"


class DocumentError(Exception):
    """A marker without its end, or a named file that cannot be used."""


def updated(text: str, folder: Path) -> str:
    """`text` with every marked part replaced by the file its marker names.

    Raises:
        DocumentError: an unpaired marker, or a file that is missing or holds a marker itself.
    """
    result: list[str] = []
    inside = None
    for number, line in enumerate(text.splitlines(), 1):
        begin = _BEGIN.fullmatch(line.strip())
        if begin:
            if inside:
                raise DocumentError(f"line {number}: a marker before the {_END} of {inside!r}")
            inside = begin[1]
            result += [line, *_content(folder / inside, number)]
        elif line.strip() == _END:
            if not inside:
                raise DocumentError(f"line {number}: {_END} without a marker before it")
            inside = None
            result.append(line)
        elif not inside:
            result.append(line)
    if inside:
        raise DocumentError(f"the marker of {inside!r} has no {_END} after it")
    return "\n".join(result) + "\n"


def _content(path: Path, number: int) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").strip("\n").splitlines()
    except OSError as error:
        raise DocumentError(f"line {number}: {path} cannot be read: {error.strerror}") from None
    if any(line.strip() == _END or _BEGIN.fullmatch(line.strip()) for line in lines):
        raise DocumentError(f"line {number}: {path} holds a marker itself")
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Puts generated files into the documents.")
    parser.add_argument("--check", action="store_true", help="exit 1 if anything would change")
    parser.add_argument(
        "--project",
        type=Path,
        default=Path(__file__).resolve().parent.parent,
        help="folder of README.md and docs/ (default: this project's)",
    )
    options = parser.parse_args(arguments)
    project: Path = options.project
    stale: dict[Path, str] = {}
    for document in [project / "README.md", *sorted(project.glob("docs/*.md"))]:
        try:
            old = document.read_text(encoding="utf-8")
            new = updated(old, project)
        except (OSError, DocumentError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            print(f"update_docs: error: {document}: {said}", file=sys.stderr)
            return 2
        if new != old:
            stale[document] = new
    for document, text in stale.items():
        if options.check:
            print(f"{document} is not up to date: run python tools/update_docs.py", file=sys.stderr)
            continue
        write_text(document, text)
        print(f"updated {document}")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    raise SystemExit(exit_status_of(main))
