"""A model from a `.tfprune` file: `python -m tfprune.decompress model.tfprune --to=keras`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tfprune.command import ArgumentParser, exit_status_of
from tfprune.errors import UsageError
from tfprune.keras_line import choose_keras
from tfprune.quiet import quiet

_KINDS = ("keras", "tflite")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m tfprune.decompress",
        description="Turns a .tfprune file into a file that Keras or LiteRT loads without tfprune.",
        epilog="exit status: 0 written; 1 a file cannot be read or written; 2 wrong usage",
    )
    parser.add_argument("file", metavar="FILE.tfprune")
    parser.add_argument("--to", default="keras", help="keras (default) or tflite")
    parser.add_argument("--out", metavar="FILE", help="default: FILE.keras or FILE.tflite")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Converts the file that the command line names and returns the exit status.

    Args:
        arguments: the command line without the program; None takes `sys.argv`.
    """
    return exit_status_of(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    if options.to not in _KINDS:
        raise UsageError(f"--to must be one of {', '.join(_KINDS)}. Received: {options.to!r}")
    suffix = f".{options.to}"
    source = Path(options.file)
    if options.out and Path(options.out).suffix != suffix:
        raise UsageError(
            f"--out must end in {suffix} for --to={options.to}. Received: {options.out!r}"
        )
    # Only now: --help and wrong usage are not to wait for the libraries below.
    from tfprune.compression.container import keras_line_of

    # The model is built by the Keras that wrote it.
    choose_keras(keras_line_of(source))
    out = Path(options.out) if options.out else source.with_suffix(suffix)
    with quiet():
        from tfprune.atomic import atomic_path
        from tfprune.compression.artifact import load_compressed
        from tfprune.export.tflite import export_tflite

        model = load_compressed(source)
    if options.to == "tflite":
        export_tflite(model, out)
    else:
        with atomic_path(out) as temporary:
            model.save(temporary)
    print(f"{out}: {out.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
