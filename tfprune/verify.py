"""Are the removed weights zero? `python -m tfprune.verify FILE... [--masks=masks.npz]`.

Prints a table for each file. The exit status is 0 only when every file is proven, 1 when a
weight came back, a file can not be read or there is nothing to compare with, 2 on usage.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tfprune.command import ArgumentParser, exit_status_of
from tfprune.errors import TfpruneError


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m tfprune.verify",
        description="Counts, in each FILE, the pruned weights that are not exactly zero.",
        epilog="exit status: 0 all are ok; 1 a weight came back, or nothing to compare with; "
        "2 wrong usage",
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help=".keras, .weights.h5, .tflite or .tfprune file, SavedModel folder, checkpoint prefix",
    )
    parser.add_argument("--masks", metavar="masks.npz", help="the masks of the run")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Audits the files named on the command line and returns the exit status.

    Args:
        arguments: the command line without the program; None takes `sys.argv`.
    """
    return exit_status_of(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    # Only now: --help and wrong usage are not to wait for the libraries below.
    from tfprune.export.audit import audit

    status = 0
    for file in options.files:
        try:
            report = audit(file, options.masks)
        except TfpruneError as error:  # the other files are still to be seen
            print(f"tfprune: error: {error}", file=sys.stderr)
            status = max(status, error.exit_status)
            continue
        print(report)
        if report.verdict != "ok":
            status = max(status, 1)
    return status


if __name__ == "__main__":
    sys.exit(main())
